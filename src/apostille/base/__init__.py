"""Words every layer uses. Standard library only."""
