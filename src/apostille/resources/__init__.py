"""What people write: strict, frozen, and every problem reported with its place."""
