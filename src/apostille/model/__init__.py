"""The intermediate representation between what people write and what Envoy gets.

Frozen dataclasses and closed unions; no library, no behaviour beyond questions about themselves.
"""
