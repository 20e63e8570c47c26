"""One plant for all peers of a test process; its end is where replay, samples and capture are judged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.plant import Plant, open_plant


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Served until the last test that uses it; `Plant.finish` fails as an error of that test's teardown."""
    with open_plant(tmp_path_factory.mktemp("plant")) as opened:
        yield opened
        opened.finish()
