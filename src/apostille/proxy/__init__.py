"""Envoy as a process: its binary, its bootstrap, its life. It knows nothing of routes or of what people write."""
