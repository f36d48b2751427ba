"""Resources to model: pure functions, no I/O, no clock, no randomness."""
