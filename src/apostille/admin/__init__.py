"""A read-only window on the running control plane."""
