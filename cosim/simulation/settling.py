"""The fixed point inside a SOLVE: injections that depend on voltages that depend on injections.

x = g(x), where x stacks p and q of the voltage-dependent devices and g is one AC power flow followed by the devices'
own laws.  Plain iteration converges when slope x dV/dQ < 1 but slowly near it; Anderson acceleration (Walker & Ni,
SIAM J. Numer. Anal. 49(4), 2011, depth `DEPTH`) takes the same evaluations and settles in three to six.  It is
damped when the residual grows, bounded by `MOST` evaluations, and says when it did not settle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cosim.points import Vector

MOST = 10
RESIDUAL_PU = 1e-8
DEPTH = 4
DAMPED = 0.75
"""Share of a step taken where the residual has grown."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Where the iteration ended: `x` (n,), the last residual (max |g(x) - x|) and how many evaluations it took."""

    x: Vector
    residual: float
    iterations: int

    @property
    def settled(self) -> bool:
        """Whether the residual is within `RESIDUAL_PU`."""
        return self.residual <= RESIDUAL_PU


def settle(g: Callable[[Vector], Vector], x: Vector) -> Settled:
    """Iterate from `x` (n,) in per unit; `g` must be finite where `x` is.  Never raises for not settling.

    Where g is not finite (a power flow that does not converge) at the start, that is the answer, with residual inf;
    later on it means a step too far: the iteration goes half the way back to the best point, so that a grid with a
    solution is never called dead for a trial of ours.
    """
    steps: list[Vector] = []
    images: list[Vector] = []
    best = Settled(x, np.inf, 0)
    for iteration in range(1, MOST + 1):
        image = g(x)
        if not np.isfinite(image).all():
            if best.iterations == 0:
                return Settled(x, np.inf, iteration)
            steps, images, x = [], [], 0.5 * (x + best.x)
            continue
        error = image - x
        residual = float(np.abs(error).max(initial=0.0))
        # For this step only: a damping that stays makes deadbands and saturation settle late or not at all.
        damping = DAMPED if residual > best.residual else 1.0
        if residual < best.residual:
            best = Settled(x, residual, iteration)
        if residual <= RESIDUAL_PU or iteration == MOST:
            return Settled(best.x, best.residual, iteration)
        steps, images = [*steps, error][-DEPTH:], [*images, image][-DEPTH:]
        x = _accelerated(steps, images, damping)
    return Settled(best.x, best.residual, MOST)


def _accelerated(errors: list[Vector], images: list[Vector], damping: float) -> Vector:
    """Next point: the combination of past images whose errors cancel best in the least-squares sense."""
    error, image = errors[-1], images[-1]
    if len(errors) > 1:
        d_error = np.array([error - past for past in errors[:-1]])
        d_image = np.array([image - past for past in images[:-1]])
        weights, *_ = np.linalg.lstsq(d_error.T, error, rcond=1e-10)
        image = image - weights @ d_image
        error = error - weights @ d_error
    return np.asarray(image - (1.0 - damping) * error)
