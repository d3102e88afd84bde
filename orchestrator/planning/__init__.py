"""What a sweep takes: jobs, devices, estimates. Pure, but for the look at this machine's devices."""
