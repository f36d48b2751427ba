"""The running product: reads, translates, proves, publishes, reports."""
