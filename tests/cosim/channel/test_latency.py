"""Delays against the laws they claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cosim.errors import ScenarioError

N = 40_000
QUANTILES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])

LAWS = {
    "uniform": ({"low_ms": 20, "high_ms": 80}, stats.uniform(20, 60)),
    "normal": ({"mean_ms": 40, "std_ms": 8}, stats.norm(40, 8)),
    "normal-truncated": ({"mean_ms": 10, "std_ms": 10, "min_ms": 5}, stats.truncnorm(-0.5, np.inf, 10, 10)),
    "lognormal-mean": ({"mean_ms": 40, "sigma": 0.5}, stats.lognorm(0.5, scale=40 * np.exp(-0.125))),
    "lognormal-median": ({"median_ms": 40, "sigma": 0.8}, stats.lognorm(0.8, scale=40)),
    "gamma-mean": ({"shape": 2.5, "mean_ms": 50}, stats.gamma(2.5, scale=20)),
    "gamma-scale": ({"shape": 0.7, "scale_ms": 30}, stats.gamma(0.7, scale=30)),
}


@pytest.mark.parametrize("law", LAWS)
def test_quantiles_are_the_laws(line, law):
    """The share of delays under each theoretical quantile is that quantile, within 3 standard errors."""
    options, theory = LAWS[law]
    sent_us = np.arange(N) * 1000
    out = line([{"kind": "latency", "distribution": law.split("-")[0], **options}], seed=1).send_at(sent_us)
    delays_us = out.delays_us(sent_us)
    assert len(delays_us) == N
    # A delay is rounded to a whole microsecond: half of one is added to the bound.
    share = (delays_us[:, None] <= 1000 * theory.ppf(QUANTILES) + 0.5).mean(axis=0)
    error = np.sqrt(QUANTILES * (1 - QUANTILES) / N)
    assert np.all(np.abs(share - QUANTILES) < 3 * error + 1e-5), (share, error)
    assert abs(delays_us.mean() / 1000 - theory.mean()) < 3 * theory.std() / np.sqrt(N)


def test_truncation_puts_no_mass_on_the_bound(line):
    """A normal delay is never under min_ms, and none sits on it."""
    sent_us = np.arange(5000) * 1000
    rule = {"kind": "latency", "distribution": "normal", "mean_ms": 10, "std_ms": 10, "min_ms": 8}
    delays_us = line([rule]).send_at(sent_us).delays_us(sent_us)
    assert delays_us.min() >= 8000
    assert (delays_us == 8000).mean() < 0.001


@pytest.mark.parametrize(("delay_ms", "delay_us"), [(0.0, 0), (0.0004, 0), (0.0005, 1), (0.0015, 2), (12.3, 12_300)])
def test_constant_is_rounded_half_up(line, delay_ms, delay_us):
    """A delay is whole microseconds, half rounded up."""
    out = line([{"kind": "latency", "distribution": "constant", "delay_ms": delay_ms}]).send_at([7])
    assert out.arrived == [(7 + delay_us, 0)]


def test_trace_in_sequence_cycles_or_stays(line):
    """A sequence starts again after its end, or keeps its last value with cycle: false."""
    rule = {"kind": "latency", "distribution": "trace", "values_ms": [3, 1, 2], "order": "sequence"}
    sent_us = np.arange(600) * 10_000
    assert line([rule]).send_at(sent_us).delays_us(sent_us).tolist() == [3000, 1000, 2000] * 200
    held = line([rule | {"cycle": False}]).send_at(sent_us).delays_us(sent_us)
    assert held.tolist() == [3000, 1000, *[2000] * 598]


def test_random_trace_draws_each_value_alike(line, channels, tmp_path):
    """A trace file is sampled with replacement: every value has its share."""
    file = tmp_path / "trace.csv"
    file.write_text("delay_ms\n1.5\n2.5\n2.5\n\n4\n")
    sent_us = np.arange(20_000) * 10_000
    rule = {"kind": "latency", "distribution": "trace", "file": str(file)}
    delays_us = line([rule]).send_at(sent_us).delays_us(sent_us)
    for value_us, share in ((1500, 0.25), (2500, 0.5), (4000, 0.25)):
        assert abs((delays_us == value_us).mean() - share) < 3 * np.sqrt(share * (1 - share) / 20_000)


@pytest.mark.parametrize(("text", "message"), [
    ("ms\n1\n-2\n", r"trace.csv:3: found '-2'; expected one delay in milliseconds"),
    ("1\nabc\n", r"trace.csv:2: found 'abc'"),
    ("1,2\n", r"trace.csv:1: found '1,2'"),
    ("nan\n", r"trace.csv:1: found 'nan'"),
    ("", r"holds no value; expected one column"),
    (None, r"cannot be read"),
])
def test_bad_trace_is_named(line, tmp_path, text, message):
    """A trace file that cannot be used points at the key that names it, and says file, line and what is expected."""
    file = tmp_path / "trace.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ScenarioError, match=r"^channels.0.rules.0.file: latency: .*" + message):
        line([{"kind": "latency", "distribution": "trace", "file": str(file)}])


@pytest.mark.parametrize(("options", "message"), [
    ({}, "distribution: missing: Law of the delay"),
    ({"distribution": "pareto"}, "'constant', 'uniform', 'normal', 'lognormal', 'gamma' or 'trace'"),
    ({"distribution": "uniform", "low_ms": 1}, "high_ms missing: distribution uniform, which takes low_ms, high_ms"),
    ({"distribution": "uniform", "low_ms": 2, "high_ms": 1}, "high_ms 1 is below low_ms 2"),
    ({"distribution": "constant", "delay_ms": 1, "sigma": 1}, "sigma does not belong to distribution constant"),
    ({"distribution": "constant", "delay_ms": -1}, "found -1; expected at least 0"),
    ({"distribution": "constant", "delay_ms": float("nan")}, "finite number"),
    ({"distribution": "gamma", "shape": 2, "mean_ms": 1, "scale_ms": 1}, "exactly one of mean_ms and scale_ms"),
    ({"distribution": "lognormal", "sigma": 1, "mean_ms": 0}, "mean_ms 0"),
    ({"distribution": "normal", "mean_ms": 1, "std_ms": 1, "min_ms": 9}, "at most mean_ms \\+ 2.5 std_ms = 3.5"),
    ({"distribution": "trace", "values_ms": []}, "expected 1 to"),
    ({"distribution": "trace", "values_ms": [1], "cycle": True}, "cycle belongs to order: sequence"),
])
def test_wrong_options_name_what_is_accepted(line, options, message):
    """Options that do not fit the distribution are refused, saying what it takes."""
    with pytest.raises(ScenarioError, match=message):
        line([{"kind": "latency", **options}])
