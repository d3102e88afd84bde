"""What every source raises."""

from ...models.recipe.fault import Fault


class ImportFault(Fault):
    """A file that cannot be imported; the message names it, the columns and rows, and the remedy."""
