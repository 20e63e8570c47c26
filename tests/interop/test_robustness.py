"""`gridloop serve` under the 25 socket probes of `benchmarks.robustness` (there beside other servers)."""

from __future__ import annotations

import pytest

from benchmarks.robustness import Column, column, verdict
from benchmarks.robustness_probes import PROBES, Probe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found() -> Column:
    """All probes on one server."""
    return column("ours")


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_it_does_what_it_should(found: Column, probe: Probe) -> None:
    """The answer, the silence or the end that the protocol asks for."""
    assert verdict(probe, found.found[probe.name]), f"{found.found[probe.name]}; expected {' or '.join(probe.good)}"


def test_it_bears_all_of_them_in_one_process(found: Column) -> None:
    """It was started once."""
    assert found.restarts == 0
    assert len(PROBES) == 25
