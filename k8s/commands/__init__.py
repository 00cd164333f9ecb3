"""The commands of `capstan`, one module each."""
