"""Training a group of trials as one tensor program."""
