"""Token embedding with one table per trial.

K trials, B batch, T time, V vocabulary, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def embed(tokens_KBT: Tensor, table_KVD: Tensor) -> Tensor:
    """Rows of each trial's own table, [K, B, T, D].

    The tables are laid end to end and the tokens shifted, so that one lookup serves all trials.
    """
    k, vocab, width = table_KVD.shape
    offset_K = torch.arange(k, device=tokens_KBT.device) * vocab
    return F.embedding(tokens_KBT + offset_K[:, None, None], table_KVD.reshape(k * vocab, width))
