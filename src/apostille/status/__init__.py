"""What people are told about their resources."""
