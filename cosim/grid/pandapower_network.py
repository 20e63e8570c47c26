"""A pandapower net as a `Network`. One of the two homes of pandapower (the other solves what our model cannot).

Impedances of lines follow pandapower's pi-model (its documentation, "Line"); transformers are converted by pandapower
itself, at each new tap position once, so tap changers on either side, phase shifters and tap tables mean what they
mean there. A transformer without tap data gets the assumed steps of `cosim.grid.network` at neutral position.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks

from cosim.errors import GridError
from cosim.grid.foreign_code import refuse_foreign_code
from cosim.grid.names import element_names
from cosim.grid.network import (
    Branches,
    Buses,
    ExternalGrids,
    Generators,
    Injections,
    IntArray,
    Network,
    PiBranches,
    Shunts,
    Switches,
)
from cosim.grid.pandapower_taps import PandapowerTaps, mend_taps
from cosim.state import BoolArray, FloatArray, Topology

MAX_JSON_BYTES = 256 * 1024 * 1024
UNLIMITED_KA = 9999.0
"""A current rating at or above this is a placeholder (pandapower's converted cases use 99999), not a rating."""

_CARRIED = frozenset({"bus", "line", "trafo", "load", "sgen", "gen", "ext_grid", "shunt", "switch", "storage"})
_ELEMENTS = ("asymmetric_load", "asymmetric_sgen", "b2b_vsc", "bi_vsc", "bus_dc", "dcline", "impedance", "line_dc",
             "load_dc", "motor", "source_dc", "ssc", "svc", "tcsc", "trafo3w", "vsc", "vsc_bipolar", "vsc_stacked",
             "ward", "xward")


@contextlib.contextmanager
def _drawn_alike(draws: Any) -> Iterator[None]:
    """Kerber's templates draw line lengths from the module `random`, unseeded: always the same draws, and the module
    as it was afterwards."""
    before = draws.getstate()
    draws.seed(0)
    try:
        yield
    finally:
        draws.setstate(before)


def build_template(builder: str, options: Mapping[str, object]) -> Any:
    """The net made by this function of pandapower.networks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas deprecations inside pandapower: not ours to mend
        with _drawn_alike(pandapower.networks.kerber_networks.rd):
            return getattr(pandapower.networks, builder)(**options)


def read_simbench(code: str) -> Any:
    """The net of a SimBench code."""
    import simbench

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return simbench.get_simbench_net(code)
        except (ValueError, KeyError, NotImplementedError) as error:
            raise GridError(f"network {code!r}: SimBench does not know this code ({error})") from error


def read_json(path: Path) -> Any:
    """The net in a pandapower JSON file."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise GridError(f"{path.name}: {path.stat().st_size} bytes; a network file may have {MAX_JSON_BYTES}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refuse_foreign_code(path.read_text(encoding="utf-8"), path.name)
            net = pp.from_json(str(path))
    except GridError:
        raise
    except Exception as error:  # pandapower's reader lets anything through that a broken file can cause
        raise GridError(f"{path.name}: not a pandapower network ({type(error).__name__}: {error});"
                        " expected a file written by pandapower.to_json") from error
    if not isinstance(net, pp.pandapowerNet):
        raise GridError(f"{path.name}: holds {type(net).__name__}; expected a pandapower network")
    return net


def network_of_pandapower(source_net: Any, name: str, source: str) -> Network:
    """The network of a pandapower net, which is copied and not touched."""
    logging.getLogger("pandapower").setLevel(logging.ERROR)
    net = deepcopy(source_net)
    if len(net.bus) == 0:
        raise GridError(f"network {name}: it has no bus")
    if "slack" not in net.gen.columns:
        net.gen["slack"] = False
    assumed = mend_taps(net)
    reason = _not_carried(net)
    position = {index: i for i, index in enumerate(net.bus.index)}
    shunts, shunt_step = _shunts(net, position)
    topology = Topology(
        line_closed=net.line.in_service.to_numpy(dtype=bool), trafo_closed=net.trafo.in_service.to_numpy(dtype=bool),
        gen_closed=net.gen.in_service.to_numpy(dtype=bool), switch_closed=net.switch.closed.to_numpy(dtype=bool),
        tap=net.trafo.tap_pos.to_numpy(dtype=np.float64), shunt_step=shunt_step,
    )
    return Network(
        name=name, source=source, base_mva=float(net.sn_mva), buses=_buses(net),
        branches=_branches(net, position, assumed), loads=_injections(net, "load", -1.0, position),
        sgens=_injections(net, "sgen", 1.0, position), fixed=_injections(net, "storage", -1.0, position),
        gens=_generators(net, position), ext_grids=_ext_grids(net, position), shunts=shunts,
        switches=_switches(net, position), topology=topology, needs_pandapower=reason, pandapower_net=net,
    )


def _not_carried(net: Any) -> str:
    """What of this net our model does not carry, in words; "" if nothing."""
    tables = [f"{len(net[table])} {table}" for table in _ELEMENTS if table in net and len(net[table])]
    found = ["it has " + ", ".join(tables)] if tables else []
    shares = [c for c in net.load.columns if c.startswith(("const_z", "const_i"))]
    if shares and (net.load[shares].fillna(0.0).to_numpy(dtype=np.float64) != 0).any():
        found.append("loads depend on voltage (const_z, const_i)")
    if "z_ohm" in net.switch and (net.switch.z_ohm.fillna(0.0) > 0).any():
        found.append("switches have an impedance (z_ohm)")
    if "step_dependency_table" in net.shunt and net.shunt.step_dependency_table.fillna(False).any():
        found.append("shunts have step tables")
    closed = net.line.r_ohm_per_km.eq(0) & net.line.x_ohm_per_km.eq(0)
    if closed.any():
        found.append("lines have no impedance")
    return "; ".join(found)


def _column(table: Any, name: str, default: float) -> FloatArray:
    """A column as floats; `default` where it is absent or NaN."""
    if name not in table:
        return np.full(len(table), default)
    values = table[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isnan(values), default, values)


def _at(position: dict[Any, int], buses: Any) -> IntArray:
    """Bus positions of these bus indices."""
    return np.array([position[bus] for bus in buses], dtype=np.int64)


def _buses(net: Any) -> Buses:
    """Buses; the zone is pandapower's, "" where there is none."""
    zones = net.bus["zone"] if "zone" in net.bus else [None] * len(net.bus)
    return Buses(
        names=element_names(net.bus["name"], list(net.bus.index)), vn_kv=net.bus.vn_kv.to_numpy(dtype=np.float64),
        zone=tuple("" if zone is None or zone != zone else str(zone) for zone in zones),
        in_service=net.bus.in_service.to_numpy(dtype=bool), v_min_pu=_column(net.bus, "min_vm_pu", np.nan),
        v_max_pu=_column(net.bus, "max_vm_pu", np.nan),
    )


def _branches(net: Any, position: dict[Any, int], assumed: BoolArray) -> Branches:
    """Lines, transformers and three-winding transformers with their ratings."""
    line, trafo, three = net.line, net.trafo, net.trafo3w
    start = _at(position, [*line.from_bus, *trafo.hv_bus, *three.hv_bus])
    end = _at(position, [*line.to_bus, *trafo.lv_bus, *three.lv_bus])
    kv = net.bus.vn_kv.to_numpy(dtype=np.float64)
    n_line, n_two = len(line), len(line) + len(trafo)
    amps = line.max_i_ka.to_numpy(dtype=np.float64)
    amps = np.where((amps > 0) & (amps < UNLIMITED_KA), amps, np.nan) * _column(line, "df", 1.0) * line.parallel
    three_kva = three.sn_hv_mva.to_numpy(dtype=np.float64) * 1e3
    ends = []
    for bus, side in ((start, "vn_hv_kv"), (end, "vn_lv_kv")):
        rated = np.sqrt(3.0) * kv[bus[:n_line]] * amps * 1e3
        power = trafo.sn_mva * _column(trafo, "df", 1.0) * trafo.parallel * kv[bus[n_line:n_two]] / trafo[side]
        ends.append(np.concatenate([rated, power.to_numpy(dtype=np.float64) * 1e3, three_kva]))
    return Branches(
        line_names=element_names(line["name"], list(line.index)),
        trafo_names=element_names(trafo["name"], list(trafo.index)),
        trafo3w_names=element_names(three["name"], list(three.index)), from_bus=start, to_bus=end,
        rating_from_kva=ends[0], rating_to_kva=ends[1], lines=_line_models(net, kv[start[:n_line]]),
        taps=PandapowerTaps(net), tap_min=_column(trafo, "tap_min", np.nan), tap_max=_column(trafo, "tap_max", np.nan),
        tap_assumed=assumed,
    )


def _line_models(net: Any, kv: FloatArray) -> PiBranches:
    """Pi-models of the lines on the rated voltage of their from bus, `kv` (n_line,)."""
    line = net.line
    ohm = kv**2 / float(net.sn_mva)
    length, parallel = line.length_km.to_numpy(dtype=np.float64), line.parallel.to_numpy(dtype=np.float64)
    r = line.r_ohm_per_km.to_numpy(dtype=np.float64) * length / ohm / parallel
    x = line.x_ohm_per_km.to_numpy(dtype=np.float64) * length / ohm / parallel
    siemens = 2j * np.pi * float(net.f_hz) * line.c_nf_per_km.to_numpy(dtype=np.float64) * 1e-9
    siemens = siemens + _column(line, "g_us_per_km", 0.0) * 1e-6
    half = siemens * ohm * length * parallel / 2.0
    return PiBranches(r, x, half, half, np.ones(len(line), dtype=np.complex128))


def _injections(net: Any, table: str, sign: float, position: dict[Any, int]) -> Injections:
    """Loads, static generators or storages; out of service ones inject nothing."""
    rows = net[table]
    factor = sign * 1e3 * _column(rows, "scaling", 1.0) * rows.in_service.to_numpy(dtype=np.float64)
    return Injections(element_names(rows["name"], list(rows.index)), _at(position, rows.bus),
                      _column(rows, "p_mw", 0.0) * factor, _column(rows, "q_mvar", 0.0) * factor)


def _generators(net: Any, position: dict[Any, int]) -> Generators:
    """Generators; limits are infinite where the net gives none."""
    gen = net.gen
    count = len(gen)
    return Generators(
        names=element_names(gen["name"], list(gen.index)), bus=_at(position, gen.bus),
        p_kw=_column(gen, "p_mw", 0.0) * _column(gen, "scaling", 1.0) * 1e3, q_kvar=np.zeros(count),
        v_pu=_column(gen, "vm_pu", 1.0), angle_deg=np.zeros(count), p_min_kw=_column(gen, "min_p_mw", -np.inf) * 1e3,
        p_max_kw=_column(gen, "max_p_mw", np.inf) * 1e3, q_min_kvar=_column(gen, "min_q_mvar", -np.inf) * 1e3,
        q_max_kvar=_column(gen, "max_q_mvar", np.inf) * 1e3, regulates=np.ones(count, dtype=bool),
        slack=gen.slack.fillna(False).to_numpy(dtype=bool),
    )


def _ext_grids(net: Any, position: dict[Any, int]) -> ExternalGrids:
    """External grids in service."""
    table = net.ext_grid[net.ext_grid.in_service.astype(bool)]
    return ExternalGrids(element_names(table["name"], list(table.index)), _at(position, table.bus),
                         _column(table, "vm_pu", 1.0), _column(table, "va_degree", 0.0))


def _shunts(net: Any, position: dict[Any, int]) -> tuple[Shunts, FloatArray]:
    """Shunts with their power per step at the bus's rated voltage, and the step each stands at."""
    table = net.shunt
    bus = _at(position, table.bus)
    kv = net.bus.vn_kv.to_numpy(dtype=np.float64)[bus]
    scale = (kv / _column(table, "vn_kv", np.nan)) ** 2
    scale = np.where(np.isnan(scale), 1.0, scale) * -1e3
    step = _column(table, "step", 1.0)
    shunts = Shunts(element_names(table["name"], list(table.index)), bus, _column(table, "p_mw", 0.0) * scale,
                    _column(table, "q_mvar", 0.0) * scale, np.maximum(_column(table, "max_step", 1.0), step))
    return shunts, np.where(table.in_service.to_numpy(dtype=bool), step, 0.0)


def _switches(net: Any, position: dict[Any, int]) -> Switches:
    """Switches towards buses, lines and transformers."""
    table = net.switch
    kinds = {"b": "bus", "l": "line", "t": "trafo", "t3": "trafo3w"}
    where = {"b": position, "l": {i: n for n, i in enumerate(net.line.index)},
             "t": {i: n for n, i in enumerate(net.trafo.index)}, "t3": {}}
    element = [where[et].get(target, -1) for et, target in zip(table.et, table.element, strict=True)]
    return Switches(element_names(table["name"], list(table.index)), tuple(kinds[et] for et in table.et),
                    _at(position, table.bus), np.array(element, dtype=np.int64))
