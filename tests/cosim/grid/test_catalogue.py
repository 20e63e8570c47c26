"""Names and files of networks."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from scipy.io import savemat

from cosim.errors import GridError
from cosim.grid import Grid, known_networks, load_network
from cosim.grid.catalogue import CASE_FOLDER, TEMPLATES
from cosim.grid.matpower import parse_case, read_case
from tests.cosim.grid.oracles import example_net, pypower_case, run

SMALL = (CASE_FOLDER / "case9.m").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [9, 14, 24, 30, 39, 57, 118, 300])
def test_shipped_cases_are_the_published_ones(number: int) -> None:
    """The text files hold PYPOWER's numbers, bit by bit."""
    case, shipped = pypower_case(number), read_case(CASE_FOLDER / f"case{number}.m")
    assert np.array_equal(shipped.bus, case["bus"])
    assert np.array_equal(shipped.gen, case["gen"][:, :10])
    assert np.array_equal(shipped.branch, case["branch"])


def test_every_template_loads_and_is_listed() -> None:
    """What is listed can be loaded, with unique names without blanks."""
    listed = [name for name, summary in known_networks() if summary]
    assert set(TEMPLATES) <= set(listed)
    for name in TEMPLATES:
        network = load_network(name)
        for names in (network.bus_names, network.line_names, network.load_names, network.switch_names):
            assert len(set(names)) == len(names)
            assert not any(" " in n or not n for n in names)


def test_an_unknown_name_says_what_is_known() -> None:
    """A typing error gets the near name and the list."""
    with pytest.raises(GridError, match=r"did you mean cigre_mv\b.*case118"):
        load_network("cigre_vm")


def test_files_are_found_relative_to_the_base(tmp_path: Path) -> None:
    """JSON, .m and .mat files give the networks they hold."""
    net = example_net("example_simple")
    pp.to_json(net, str(tmp_path / "own.json"))
    (tmp_path / "nine.m").write_text(SMALL, encoding="utf-8")
    case = pypower_case(9)
    savemat(tmp_path / "nine.mat", {"mpc": {k: case[k] for k in ("baseMVA", "bus", "gen", "branch")}})
    run(net)
    own = Grid(load_network("own.json", tmp_path), []).state
    assert np.nanmax(np.abs(own.v_pu - net.res_bus.vm_pu.to_numpy())) < 1e-9
    text, matlab = (Grid(load_network(name, tmp_path), []).state.v_pu for name in ("nine.m", "nine.mat"))
    assert np.array_equal(text, matlab)


@pytest.mark.parametrize(("change", "message"), [
    (("mpc.baseMVA = 100;", "mpc.baseMVA = 100; x = 3;"), "expected a number"),
    (("mpc.bus = [", "mpc.bus(:, 3) = 2;\nmpc.bus = ["), "is not plain data"),
    (("mpc.gen = [", "mpc.generators = ["), "mpc.gen is missing"),
    (("345", "volts"), "'volts' is not a number"),
    (("mpc.baseMVA = 100;", "mpc.baseMVA = -1;"), "expected a positive number"),
    (("2\t163", "77\t163"), "bus 77"),
    (("];", ""), "never closed"),
])
def test_broken_cases_are_refused(change: tuple[str, str], message: str) -> None:
    """Each kind of broken case gets a message that says what is wrong."""
    broken = SMALL.replace(*change)
    assert broken != SMALL
    with pytest.raises(GridError, match=message):
        parse_case(broken, "case9")


@pytest.mark.parametrize("name", ["missing.m", "missing.json"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    """A file that is not there is a GridError."""
    with pytest.raises(GridError, match=name):
        load_network(name, tmp_path)


def test_a_json_of_something_else_is_refused(tmp_path: Path) -> None:
    """Valid JSON that is no network, and invalid JSON, are GridErrors."""
    for text in ('{"a": 1}', "{", "[1, 2]"):
        (tmp_path / "x.json").write_text(text, encoding="utf-8")
        with pytest.raises(GridError, match=r"x\.json"):
            load_network("x.json", tmp_path)


@pytest.mark.parametrize("depth", range(3))
def test_a_json_does_not_import_what_it_names(depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that a network file asks for, at any depth and however escaped, is refused and never imported."""
    (tmp_path / "foreign_module.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    part: Any = {"_module": "foreign_module", "_class": "X", "_object": "1"}
    for _ in range(depth):
        part = {"_module": "pandas.core.frame", "_class": "DataFrame", "orient": "split",
                "_object": json.dumps({"columns": ["a"], "index": [0], "data": [[part]]})}
    net = {"_module": "pandapower.auxiliary", "_class": "pandapowerNet", "_object": {"a": part}}
    text = json.dumps(net).replace("_module", "\\u005fmodule", 1)
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(GridError, match="asks for the Python module 'foreign_module'"):
        load_network("x.json", tmp_path)


def test_a_json_does_not_read_another_file(tmp_path: Path) -> None:
    """A table that is the name of a file is refused."""
    table = {"_module": "pandas.core.frame", "_class": "DataFrame", "_object": str(tmp_path / "other.json")}
    net = {"_module": "pandapower.auxiliary", "_class": "pandapowerNet", "_object": {"bus": table}}
    (tmp_path / "x.json").write_text(json.dumps(net), encoding="utf-8")
    with pytest.raises(GridError, match="refers to another file"):
        load_network("x.json", tmp_path)


@pytest.mark.skipif(find_spec("grid2op") is not None, reason="lightsim2grid imports grid2op where it is installed, and "
                    "that imports pandapower")
def test_cases_do_not_import_pandapower() -> None:
    """A MATPOWER case is solved without paying for the import of pandapower."""
    code = ("import sys; from cosim.grid import Grid, load_network\n"
            "assert Grid(load_network('case14'), []).state.converged\n"
            "sys.exit('pandapower' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name.startswith("kerber")])
def test_a_template_is_the_same_network_every_time(name: str) -> None:
    """Kerber's draw line lengths; and whoever uses the module they draw from finds it as it was."""
    import random

    random.seed(7)
    one = load_network(name)
    after = random.random()
    random.seed(7)
    assert random.random() == after
    other = load_network(name)
    assert np.array_equal(one.branches.lines.r_pu, other.branches.lines.r_pu)
    assert np.array_equal(one.branches.from_bus, other.branches.from_bus)
