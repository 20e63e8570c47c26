"""One run of one scenario: build it, advance it, read its points, ask its inbox."""

from cosim.simulation.build import BuildOptions, build
from cosim.simulation.engine import Simulation

__all__ = ["BuildOptions", "Simulation", "build"]
