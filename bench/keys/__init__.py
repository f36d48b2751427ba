"""A million API keys: what they take to load, what a request with one of them costs, and what its refusal tells."""
