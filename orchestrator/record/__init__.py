"""What stands in a sweep directory, and who may write it."""
