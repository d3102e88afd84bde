"""What is trained: proxies with a leading trial axis, their scaling rules, optimizers and data."""
