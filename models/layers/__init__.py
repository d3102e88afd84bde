"""Layers with a leading trial axis, as functions of stacked parameters."""
