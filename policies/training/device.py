"""Where networks learn: the device, and the threads of sums."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from policies.training.algorithm import TrainingError


def check_device(name: str) -> None:
    """TrainingError for a device that this machine has not."""
    try:
        torch.zeros(1, device=torch.device(name))
    except (RuntimeError, AssertionError) as error:  # torch says "not compiled with CUDA" with an assertion
        raise TrainingError(f"device: found {name!r:.40}; expected cpu, or cuda where there is one "
                            f"({str(error).splitlines()[0][:100]})") from None


@contextmanager
def learner_threads(n: int) -> Iterator[None]:
    """torch has `n` threads within, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
