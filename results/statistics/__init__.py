"""What losses say: curves, optima, drift and its verdict, with intervals."""
