"""Dropout that trials of one seed share, and that a recomputed or resumed step repeats.

K trials, B batch, T time, D width.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Dropout:
    """The masks of one step: a function of seed, step and site alone, and of nothing drawn before. Trials
    that differ in anything but their seed drop the same numbers, or more of them.

    A part of a batch that begins at the sequence `begin` of all `sequences` drops what the whole would.
    """

    rate_K: Tensor
    seeds: Sequence[int]
    step: int
    begin: int
    sequences: int

    def __call__(self, x_KBTD: Tensor, site: int) -> Tensor:
        draws = {seed: self._uniform(x_KBTD[0], seed, site) for seed in {*self.seeds}}
        uniform_KBTD = torch.stack([draws[seed] for seed in self.seeds])
        rate_K111 = self.rate_K[:, None, None, None]
        return x_KBTD * ((uniform_KBTD >= rate_K111) / (1 - rate_K111)).to(x_KBTD.dtype)

    def _uniform(self, like_BTD: Tensor, seed: int, site: int) -> Tensor:
        words = hashlib.sha256(f"dropout {seed} {self.step} {site}".encode()).digest()
        whole, device = (self.sequences, *like_BTD.shape[1:]), like_BTD.device
        generator = None
        if device.type != "meta":  # which has no numbers
            generator = torch.Generator(device).manual_seed(int.from_bytes(words[:7], "big"))
        uniform_BTD = torch.rand(whole, generator=generator, device=device)
        return uniform_BTD[self.begin : self.begin + len(like_BTD)]
