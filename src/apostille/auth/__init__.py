"""The auth service: runs auth programs. It knows the model and nothing of resources, Envoy messages apart."""
