"""API keys: their form, their records, the store they live in, and what a worker remembers of it.

It must not know requests, policies or Envoy. A key in clear is held in a `SecretText` and at rest only its digest is.
"""
