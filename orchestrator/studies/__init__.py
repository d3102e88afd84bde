"""What is learned without a sweep: rule tables, coordinate checks, probes."""
