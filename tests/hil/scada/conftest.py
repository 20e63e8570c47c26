"""A device to talk to, and its point list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hil.scada.device import Device, list_file, listening


@pytest.fixture
def device() -> Iterator[Device]:
    """The feeder of LIST, listening."""
    with listening() as made:
        yield made


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """LIST as a file."""
    return list_file(tmp_path)
