"""A bundle's networks as ONNX files, so that it runs without torch, checked against torch and timed.

The graph is written node by node (a few matrix products): no tracing, and no more operators than every runtime has
(opset 17).  Inputs: ``observation`` (n, n_in) and, with memory, ``hidden`` (n, n_hidden).  Outputs: ``outputs``
(n, n_mean + n_logit), ``hidden_after``, and, where the head has them, ``log_std`` and ``explore`` as constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cosim.errors import GridloopError
from cosim.stopwatch import Stopwatch, WallStopwatch
from policies.bundle import Arrays, Bundle, BundleError, GroupBundle, onnx_file
from policies.description import NORM_CLIP, Description
from policies.durable import write_through
from policies.inference import Forward, network_of, onnx_network, stamp_of
from policies.numpy_actor import Floats

OPSET, IR_VERSION = 17, 8
#: Largest difference of an output that is let through, relative where it is above 1.
TOLERANCE = 1e-5
#: Random observations compared; decisions timed.
N_COMPARED, N_TIMED, N_WARM = 1_000, 2_000, 200

KINDS = ("torch", "onnx", "numpy")


class ExportError(GridloopError):
    """An export that cannot be made."""


class DifferenceError(ExportError):
    """An exported network that does not compute what the bundle does."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one decision's network (one observation), microseconds."""

    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of one group: `difference` is the largest from torch's outputs (relative above 1), by kind."""

    group: str
    file: Path
    difference: Mapping[str, float]
    latency: Mapping[str, Latency]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"group": self.group, "file": str(self.file), "difference": dict(self.difference),
                "latency_us": {kind: {"p50": t.p50_us, "p99": t.p99_us} for kind, t in self.latency.items()}}


def export_onnx(bundle: Path, out: Path | None = None, stopwatch: Stopwatch | None = None) -> tuple[Exported, ...]:
    """Write ``actor.<group>.onnx`` for every group into `out`, a copy of the bundle (None: into the bundle itself).

    Raises BundleError for a bundle that cannot be read, ExportError where a package is missing, and DifferenceError
    where an exported network differs from torch's by more than `TOLERANCE`: no file is put there that was not compared.
    """
    found = Bundle.load(bundle)
    folder = bundle if out is None else out
    if folder.resolve() != bundle.resolve():
        found.save(folder)
    return tuple(_export_group(folder, name, group, stopwatch or WallStopwatch())
                 for name, group in found.groups.items())


def _export_group(folder: Path, name: str, group: GroupBundle, stopwatch: Stopwatch) -> Exported:
    file, content = onnx_file(folder, name), graph_bytes(group.network, group.weights)
    fresh = file.with_name(f".{file.name}.new")
    try:
        write_through(fresh, content)
        stamp = stamp_of(folder)
        forwards = {kind: onnx_network(fresh, group).forward if kind == "onnx" else
                    network_of(kind, folder, name, stamp).forward for kind in KINDS}
        difference = {kind: _difference(group.network, forwards["torch"], forwards[kind]) for kind in KINDS[1:]}
        wrong = [kind for kind in KINDS[1:] if not difference[kind] <= TOLERANCE]
        if wrong:
            raise DifferenceError(f"{file}: {wrong[0]} differs from torch by {difference[wrong[0]]:.3g}; at most "
                                  f"{TOLERANCE:g} is let through")
        latency = {kind: _latency(group.network, forward, stopwatch) for kind, forward in forwards.items()}
        fresh.replace(file)
    except OSError as error:
        raise BundleError(f"{file}: cannot be written ({error.strerror})") from None
    finally:
        fresh.unlink(missing_ok=True)
    return Exported(name, file, difference, latency)


# -- the graph --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Graph:
    """Nodes and constants as they are added; names are those of the weights."""

    make: Any
    constant: Any
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def hold(self, name: str, array: Floats | np.float32) -> str:
        """A constant of the graph."""
        self.constants.append(self.constant(np.array(array, np.float32), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node with one output."""
        self.nodes.append(self.make(operator, inputs, [output], **attributes))
        return output


def graph_bytes(description: Description, weights: Arrays) -> bytes:
    """The serialised ONNX model of an actor; raises ExportError where the package `onnx` is missing."""
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise ExportError(f"exporting needs onnx ({error}): pip install 'gridloop[rl]'") from None
    graph = _Graph(helper.make_node, numpy_helper.from_array)
    for name in description.shapes:
        if name != "norm/count":
            graph.hold(name, weights[name])

    def value(name: str, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    inputs, outputs = [value("observation", "n", description.n_in)], []
    x = _body(graph, description)
    if description.n_hidden:
        inputs.append(value("hidden", "n", description.n_hidden))
        outputs.append(value("hidden_after", "n", description.n_hidden))
        x = _cell(graph, x)
    graph.add("Gemm", [x, "head/weight", "head/bias"], "outputs", transB=1)
    outputs.insert(0, value("outputs", "n", description.n_mean + description.n_logit))
    if "log_std" in description.shapes:
        outputs.append(value("log_std", description.n_continuous))
    if description.explores:
        outputs.append(value("explore"))
    model = helper.make_model(helper.make_graph(graph.nodes, "actor", inputs, outputs, graph.constants),
                              opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                              producer_name="gridloop")
    checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _body(graph: _Graph, description: Description) -> str:
    x = "observation"
    if description.normalise:
        low, high = (graph.hold(f"norm/{name}", np.float32(bound)) for name, bound in
                     (("low", -NORM_CLIP), ("high", NORM_CLIP)))
        x = graph.add("Sub", [x, "norm/mean"], "centred")
        x = graph.add("Div", [x, "norm/std"], "scaled")
        x = graph.add("Clip", [x, low, high], "normalised")
    operator = {"tanh": "Tanh", "relu": "Relu"}[description.activation]
    n_layer = len(description.hidden) - (1 if description.n_hidden else 0)
    for i in range(n_layer):
        x = graph.add("Gemm", [x, f"body/{i}/weight", f"body/{i}/bias"], f"body/{i}/sum", transB=1)
        x = graph.add(operator, [x], f"body/{i}")
    return x


def _cell(graph: _Graph, x: str) -> str:
    """The gated recurrent unit in torch's form: reset, update, new, reset applied after the matrix."""
    for what, source in (("ih", x), ("hh", "hidden")):
        total = graph.add("Gemm", [source, f"gru/weight_{what}", f"gru/bias_{what}"], f"gru/{what}", transB=1)
        graph.nodes.append(graph.make("Split", [total], [f"gru/{what}/{part}" for part in "run"], axis=1))
    for gate in "ru":
        graph.add("Add", [f"gru/ih/{gate}", f"gru/hh/{gate}"], f"gru/{gate}/sum")
        graph.add("Sigmoid", [f"gru/{gate}/sum"], f"gru/{gate}")
    graph.add("Mul", ["gru/r", "gru/hh/n"], "gru/kept")
    graph.add("Add", ["gru/ih/n", "gru/kept"], "gru/n/sum")
    graph.add("Tanh", ["gru/n/sum"], "gru/n")
    graph.add("Sub", ["hidden", "gru/n"], "gru/back")
    graph.add("Mul", ["gru/u", "gru/back"], "gru/held")
    return graph.add("Add", ["gru/n", "gru/held"], "hidden_after")


# -- checked and timed ------------------------------------------------------------------------------------------------


def _difference(description: Description, expected: Forward, tried: Forward) -> float:
    """Largest difference of outputs and memory over random observations, some far outside; relative above 1."""
    rng = np.random.default_rng(0)
    scale = rng.choice([0.1, 1.0, 10.0], (N_COMPARED, 1))
    x = (rng.standard_normal((N_COMPARED, description.n_in)) * scale).astype(np.float32)
    hidden = None if not description.n_hidden else rng.uniform(
        -1, 1, (N_COMPARED, description.n_hidden)).astype(np.float32)
    worst = np.float32(0.0)
    for a, b in zip(expected(x, hidden), tried(x, hidden), strict=True):
        if a is not None and b is not None:
            worst = np.maximum(worst, (np.abs(a - b) / np.maximum(1.0, np.abs(a))).max())  # NaN stays NaN
    return float(worst)


def _latency(description: Description, forward: Forward, stopwatch: Stopwatch) -> Latency:
    x = np.random.default_rng(1).standard_normal((1, description.n_in)).astype(np.float32)
    for _ in range(N_WARM):
        forward(x, None)
    times = np.empty(N_TIMED)
    for i in range(N_TIMED):
        begun_s = stopwatch.now_s()
        forward(x, None)
        times[i] = stopwatch.now_s() - begun_s
    p50, p99 = np.percentile(times * 1e6, (50, 99)).tolist()
    return Latency(p50, p99)
