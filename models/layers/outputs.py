"""What a forward pass ends with: logits, or the stream and the matrix that make them.

K trials, B batch, T time, D width, V outputs.
"""

from dataclasses import dataclass

from torch import Tensor

from .linear import linear


@dataclass(frozen=True, slots=True)
class Outputs:
    """The stream in front of the readout and its matrix. Logits over a vocabulary are the largest tensor of
    many trainings, and a loss can be had without all of them at once. Without a matrix, `last` are logits.
    """

    last: Tensor
    readout_KVD: Tensor | None = None

    def logits(self) -> Tensor:
        """[K, B, T, V]."""
        return self.last if self.readout_KVD is None else linear(self.last, self.readout_KVD)
