"""Learning-rate schedules, as a fraction of the peak."""

import math

from ..recipe.recipe import Recipe

SCHEDULED_BY = ("steps", "warmup", "schedule", "cooldown", "final_lr")
"""The fields that `schedule_factor` reads."""


def schedule_factor(recipe: Recipe, step: int) -> float:
    """The learning rate of step 0, 1, ... over its peak: linear warm-up, then the recipe's decay.

    The warm-up ends at its peak, so that its first step already moves.
    """
    warmup = round(recipe.warmup * recipe.steps)
    if step < warmup:
        return (step + 1) / warmup
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "wsd":
        # Warm-up, stable, decay (arXiv:2404.06395): constant until the cooldown, then linear.
        cooldown = max(1, round(recipe.cooldown * recipe.steps))
        fall = max(0.0, (step - (recipe.steps - cooldown)) / cooldown)
        return 1.0 - (1.0 - recipe.final_lr) * fall
    progress = (step - warmup) / max(1, recipe.steps - warmup)
    fall = progress if recipe.schedule == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return 1.0 - (1.0 - recipe.final_lr) * fall
