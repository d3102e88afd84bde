"""What parameters start from, before they are scaled: a function of seed, name and shape alone."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from .role import Start


def initial_draw(name: str, shape: Sequence[int], start: Start, seed: int) -> np.ndarray:
    """The unscaled start of one parameter, flat float32.

    Drawn on the CPU, so that trials which differ in anything else start from the same numbers.
    A ~ U(1, 16) and dt ~ log-uniform [1e-3, 1e-1] are Mamba2's starts (arXiv:2405.21060); GDN has
    A ~ U(0, 16) (arXiv:2412.06464).
    """
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype=np.uint32)
    generator = np.random.default_rng([seed, *shape, *(int(word) for word in words)])
    size = math.prod(shape)
    match start:
        case "normal":
            return generator.standard_normal(size, dtype=np.float32)
        case "ones":
            return np.ones(size, dtype=np.float32)
        case "zeros":
            return np.zeros(size, dtype=np.float32)
        case "a_log":
            return np.log(generator.uniform(1e-4, 16.0, size)).astype(np.float32)
        case "a_log_counted":
            return np.log(np.arange(1, size + 1)).astype(np.float32)
        case "a_log_from_1":
            return np.log(generator.uniform(1.0, 16.0, size)).astype(np.float32)
        case "dt_bias":
            step_size = np.exp(generator.uniform(math.log(1e-3), math.log(1e-1), size))
            return (step_size + np.log(-np.expm1(-step_size))).astype(np.float32)  # inverse softplus
        case "kept":
            raise ValueError(f"{name}: starts as its model has it")
