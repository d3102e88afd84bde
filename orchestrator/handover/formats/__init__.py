"""The export as what a framework runs: a file for each."""
