"""Pure decisions and types: no I/O, no clock, no randomness, no driver."""
