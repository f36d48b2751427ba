"""apiKeyAuth: `spec` is what people write, `secret_keys` and the key store hold the keys, `step` runs."""

from apostille.steps.api_key.step import KIND

__all__ = ["KIND"]
