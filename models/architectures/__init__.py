"""Models that are trained with a trial axis: what they are made of, and their forward pass."""
