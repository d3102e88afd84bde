"""Which GPUs of this machine a job of its own demand gets."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Gpus:
    """The GPUs by name, and what is free of each."""

    names: list[str]
    free: dict[str, float] = field(init=False)
    held: dict[str, tuple[float, list[str]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.free = dict.fromkeys(self.names, 1.0)

    def take(self, job: str, count: float) -> str | None:
        """Whole GPUs, or a share of the one that it fits best, as CUDA_VISIBLE_DEVICES names them; None where
        there are not enough now."""
        if count >= 1:
            chosen = [name for name in self.names if self.free[name] == 1.0][: int(count)]
            share, enough = 1.0, len(chosen) == int(count)
        else:
            fitting = [name for name in self.names if self.free[name] >= count - 1e-9]
            chosen = sorted(fitting, key=lambda name: self.free[name])[:1]
            share, enough = count, bool(chosen)
        if not enough:
            return None
        for name in chosen:
            self.free[name] -= share
        self.held[job] = share, chosen
        return ",".join(chosen)

    def give_back(self, job: str) -> None:
        share, chosen = self.held.pop(job, (0.0, []))
        for name in chosen:
            self.free[name] = min(1.0, round(self.free[name] + share, 9))
