"""Request signing as pure functions: no I/O, no clock, no global state. Standard library, `base` and `cryptography`.

It must not know policies, Envoy or where credentials come from.
"""
