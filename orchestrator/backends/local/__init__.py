"""Long-lived worker processes on this machine."""
