"""Checks of one mechanism: how sizes scale, what a norm's scale costs."""
