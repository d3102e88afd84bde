"""What runs inside a job, the same on every backend."""
