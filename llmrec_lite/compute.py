"""The device and the seed of everything that torch computes."""

from __future__ import annotations

import os

import numpy as np
import torch


def pick_device(device: str = "auto") -> torch.device:
    """Return the named device.

    "auto" is the device that the environment variable LLMREC_DEVICE names, else CUDA where there is one, else the CPU.
    """
    if device == "auto":
        device = os.environ.get("LLMREC_DEVICE") or "auto"
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def random_seed(*numbers: int) -> int:
    """Mix whole numbers >= 0, such as (seed, purpose, step), into one seed; near numbers give unlike seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
