"""Which trainings: sweep files, their expansion into trials, identity and cost. Free of torch."""
