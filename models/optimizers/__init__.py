"""Optimizers on stacked parameters: one a file, each declared without torch, and the registry of all."""
