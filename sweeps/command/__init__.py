"""Trainings of the user's own: a command or a Python function as the program of a trial."""
