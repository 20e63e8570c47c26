"""The networks known by name, and `load_network`, which also reads files.

MATPOWER cases come from `scenarios/grids/*.m`, pandapower's templates from its package, SimBench codes from the
optional `simbench` package. pandapower's own case24, 57, 118, 145 and 300 are not the IEEE cases (pandapower issues
2557 and 3110), so they are not offered: ours are MATPOWER's.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from cosim.errors import GridError
from cosim.grid.case_network import network_of_case
from cosim.grid.matpower import read_case
from cosim.grid.network import Network

CASE_FOLDER = Path(__file__).resolve().parents[2] / "scenarios" / "grids"
FILE_KINDS = (".json", ".m", ".mat")


@dataclass(frozen=True, slots=True)
class Template:
    """A network known by name: its summary, and the pandapower builder with options ("" : a case of ours)."""

    summary: str
    builder: str = ""
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


def _pandapower(summary: str, builder: str, **options: object) -> Template:
    return Template(summary, builder, MappingProxyType(options))


TEMPLATES: Mapping[str, Template] = MappingProxyType({
    "case9": Template("9-bus, 3-generator case (Chow)"),
    "case14": Template("IEEE 14-bus transmission case"),
    "case24": Template("IEEE Reliability Test System 1979, 24 buses"),
    "case30": Template("30-bus case (Alsac and Stott)"),
    "case39": Template("New England 39-bus case"),
    "case57": Template("IEEE 57-bus transmission case"),
    "case118": Template("IEEE 118-bus transmission case, 54 generators"),
    "case300": Template("IEEE 300-bus transmission case"),
    "case33bw": Template("Baran and Wu 33-bus radial feeder, 12.66 kV, 5 open tie lines"),
    "cigre_lv": _pandapower("CIGRE European low-voltage benchmark, 44 buses", "create_cigre_network_lv"),
    "cigre_mv": _pandapower("CIGRE European medium-voltage benchmark, 15 buses, 20 kV", "create_cigre_network_mv",
                            with_der=False),
    "cigre_mv_pv_wind": _pandapower("CIGRE medium-voltage benchmark with photovoltaics and a wind turbine",
                                    "create_cigre_network_mv", with_der="pv_wind"),
    "cigre_mv_all": _pandapower("CIGRE medium-voltage benchmark with all its distributed resources",
                                "create_cigre_network_mv", with_der="all"),
    "four_loads_with_branches_out": _pandapower("small low-voltage radial, 10 buses",
                                                "four_loads_with_branches_out"),
    "kerber_landnetz_freileitung_1": _pandapower("Kerber rural low-voltage grid, overhead line",
                                                 "create_kerber_landnetz_freileitung_1"),
    "kerber_landnetz_kabel_1": _pandapower("Kerber rural low-voltage grid, cable", "create_kerber_landnetz_kabel_1"),
    "kerber_dorfnetz": _pandapower("Kerber village low-voltage grid", "create_kerber_dorfnetz"),
    "kerber_vorstadtnetz_kabel_1": _pandapower("Kerber suburban low-voltage grid, cable",
                                               "create_kerber_vorstadtnetz_kabel_1"),
    "mv_oberrhein": _pandapower("German medium-voltage grid, 179 buses, 20 kV, open rings", "mv_oberrhein"),
})


def known_networks() -> list[tuple[str, str]]:
    """Names and one-line summaries of the templates, and how SimBench codes are named if that package is there."""
    listed = [(name, template.summary) for name, template in TEMPLATES.items()]
    if importlib.util.find_spec("simbench") is not None:
        listed.append(("1-MV-rural--0-sw", "any SimBench code, this one for instance"))
    return listed


def load_network(spec: str | Path, base_dir: str | Path = ".") -> Network:
    """The network named `spec`: a template, a SimBench code, or a file relative to `base_dir`.

    Files are pandapower `.json`, MATPOWER `.m` and `.mat`. GridError names what is unknown or unreadable.
    """
    name = str(spec)
    if isinstance(spec, str) and name in TEMPLATES:
        return _template(name)
    if Path(name).suffix.lower() in FILE_KINDS:
        return _file(Path(base_dir) / name)
    if isinstance(spec, str) and _looks_like_simbench(name):
        return _simbench(name)
    near = difflib.get_close_matches(name, TEMPLATES, n=3, cutoff=0.5)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise GridError(f"network {name!r} is not known{hint}; known: {', '.join(TEMPLATES)}; a SimBench code;"
                    f" or a file ending in {', '.join(FILE_KINDS)}")


def _template(name: str) -> Network:
    """The template of this name."""
    template = TEMPLATES[name]
    if not template.builder:
        return network_of_case(read_case(CASE_FOLDER / f"{name}.m"),
                               "MATPOWER case data (scenarios/grids), converted from public sources named in the file")
    from cosim.grid.pandapower_network import build_template, network_of_pandapower

    net = build_template(template.builder, template.options)
    return network_of_pandapower(net, name, "pandapower's network templates (BSD-3-Clause)")


def _file(path: Path) -> Network:
    """The network in a file."""
    if not path.is_file():
        raise GridError(f"network file {path.name} is not there; expected a {', '.join(FILE_KINDS)} file"
                        " at the path given, relative to the scenario")
    if path.suffix.lower() != ".json":
        return network_of_case(read_case(path), f"file {path.name}")
    from cosim.grid.pandapower_network import network_of_pandapower, read_json

    return network_of_pandapower(read_json(path), path.stem, f"file {path.name}")


def _looks_like_simbench(name: str) -> bool:
    """Whether a name has SimBench's form, such as 1-MV-rural--0-sw."""
    parts = name.split("-")
    return len(parts) >= 6 and parts[0] in {"0", "1"} and name.rpartition("-")[2] in {"sw", "no_sw"}


def _simbench(code: str) -> Network:
    """The SimBench network of this code."""
    if importlib.util.find_spec("simbench") is None:
        raise GridError(f"network {code!r} is a SimBench code, and the package simbench is not installed;"
                        " install it with: pip install simbench")
    from cosim.grid.pandapower_network import network_of_pandapower, read_simbench

    return network_of_pandapower(read_simbench(code), code, "SimBench (ODbL 1.0), www.simbench.net")
