"""What an export refuses."""

from ...models.recipe.fault import Fault


class ExportError(Fault):
    """The export cannot be made for this target or from these measurements; the message says why."""
