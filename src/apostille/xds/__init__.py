"""Model to Envoy: one Envoy message type per file, and the server that hands them out."""
