"""A device to talk to, and its point list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hil.scada.device import LIST, Device, feeder, start


@pytest.fixture
def device() -> Iterator[Device]:
    """The feeder of LIST, listening."""
    made = feeder()
    server = start(made)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """LIST as a file."""
    path = tmp_path / "feeder.csv"
    path.write_text(LIST)
    return path
