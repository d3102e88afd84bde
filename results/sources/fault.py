"""What every source raises."""


class ImportFault(Exception):
    """A file that cannot be imported; the message names it, the columns and rows, and the remedy."""
