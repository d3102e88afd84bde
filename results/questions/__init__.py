"""What is asked of the rows of a sweep: comparisons, contrasts, options, searches, what to hand over."""
