"""What is compared with each other in every report: architecture, optimizer and parametrization."""

from typing import NamedTuple

from .recipe import Recipe


class Family(NamedTuple):
    """None where imported rows do not say."""

    architecture: str | None
    optimizer: str | None
    parametrization: str | None

    @property
    def title(self) -> str:
        return " ".join(name for name in self if name)


def family_of(recipe: Recipe) -> Family:
    return Family(recipe.shape.architecture, recipe.optimizer, recipe.parametrization)
