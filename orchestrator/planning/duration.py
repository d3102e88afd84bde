"""How long something takes, in words."""


def duration(seconds: float) -> str:
    """12 s, 34 min, 5.6 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
