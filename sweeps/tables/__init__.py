"""Parametrizations that ship as files: `parametrization: NAME` takes one, `mutransfer rules NAME` prints."""
