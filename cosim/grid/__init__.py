"""The grid process: networks read from templates and files, and their AC power flow."""

from __future__ import annotations

from cosim.grid.catalogue import known_networks, load_network
from cosim.grid.electrical import loops
from cosim.grid.network import Network
from cosim.grid.process import Grid

__all__ = ["Grid", "Network", "known_networks", "load_network", "loops"]
