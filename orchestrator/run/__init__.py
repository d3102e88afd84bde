"""One run of a sweep, from its lease to its end, and what watches it."""
