"""Waiting times and blocking of the bandwidth rule against queueing theory."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.errors import ScenarioError

SERVICE_US = 1000
N = 80_000


def _poisson_us(load, n, seed):
    gaps = np.random.default_rng(seed).exponential(SERVICE_US / load, n)
    return np.floor(np.cumsum(gaps)).astype(np.int64)


def _batch_error(values, batches=40):
    """Standard error of a mean of correlated values, by batch means (Law, Simulation Modeling, 9.5.3)."""
    means = values[: len(values) // batches * batches].reshape(batches, -1).mean(axis=1)
    return means.std(ddof=1) / np.sqrt(batches)


def test_md1_waiting_time(line):
    """Poisson arrivals of equal size wait rho s / (2 (1 - rho)) on average (Pollaczek-Khinchine)."""
    load = 0.7
    sent_us = _poisson_us(load, N, seed=1)
    rule = {"kind": "bandwidth", "bits_per_second": 1_000_000, "queue_messages": 100_000}
    wait_us = line([rule]).send_at(sent_us, 125).delays_us(sent_us)[1000:] - SERVICE_US
    theory_us = load * SERVICE_US / (2 * (1 - load))
    assert abs(wait_us.mean() - theory_us) < 3 * _batch_error(wait_us), wait_us.mean()
    assert abs((wait_us <= 1).mean() - (1 - load)) < 3 * _batch_error((wait_us <= 1).astype(float)) + 0.002


def test_mm1_waiting_time(line):
    """Exponential sizes wait rho s / (1 - rho) on average, and the sojourn is exponential."""
    load = 0.6
    sent_us = _poisson_us(load, N, seed=2)
    # A mean of 125,000 bytes: whole bytes are then fine enough to be exponential.
    sizes = np.random.default_rng(3).exponential(125_000, N).round().astype(int)
    rule = {"kind": "bandwidth", "bits_per_second": 1_000_000_000, "queue_messages": 100_000}
    sojourn_us = line([rule]).send_at(sent_us, sizes).delays_us(sent_us)[1000:]
    wait_us = sojourn_us - sizes[1000:] * 8 / 1000
    assert abs(wait_us.mean() - load * SERVICE_US / (1 - load)) < 3 * _batch_error(wait_us)
    mean_us = SERVICE_US / (1 - load)
    over = (sojourn_us > mean_us).astype(float)
    assert abs(over.mean() - np.exp(-1)) < 3 * _batch_error(over)


@pytest.mark.parametrize(("load", "room"), [(0.8, 3), (1.3, 5), (0.9, 0)])
def test_mm1k_blocking(line, load, room):
    """A queue with K places (one being served) refuses a share (1 - rho) rho^K / (1 - rho^(K+1))."""
    sent_us = _poisson_us(load, N, seed=4)
    sizes = np.random.default_rng(5).exponential(125_000, N).round().astype(int)
    rule = {"kind": "bandwidth", "bits_per_second": 1_000_000_000, "queue_messages": room}
    out = line([rule]).send_at(sent_us, sizes)
    k = room + 1
    theory = (1 - load) * load**k / (1 - load ** (k + 1))
    refused = ~np.array(out.answers)
    assert out.link.dropped_queue == refused.sum() == N - len(out.arrived)
    assert abs(refused.mean() - theory) < 3 * _batch_error(refused.astype(float)), (refused.mean(), theory)


def test_a_queue_behind_a_random_latency_sees_messages_as_they_arrive(line):
    """[latency, bandwidth]: what reaches the line first is sent first, and equal sizes leave one service apart."""
    rules = [{"kind": "latency", "distribution": "trace", "values_ms": [50, 10, 30], "order": "sequence"},
             {"kind": "bandwidth", "bits_per_second": 80_000}]
    out = line(rules).send_at([0, 1, 2], 250)  # 25 ms each
    assert out.arrived == [(10_001 + 25_000, 1), (10_001 + 50_000, 2), (10_001 + 75_000, 0)]


def test_order_of_rules_matters(line):
    """[bandwidth, latency] queues before the latency: the first sent is the first served."""
    rules = [{"kind": "bandwidth", "bits_per_second": 80_000},
             {"kind": "latency", "distribution": "trace", "values_ms": [50, 10, 30], "order": "sequence"}]
    out = line(rules).send_at([0, 1, 2], 250)
    assert out.arrived == [(60_000, 1), (75_000, 0), (105_000, 2)]


def test_queue_in_bytes_is_drop_tail(line):
    """queue_bytes bounds what waits besides the message on the wire, overhead included."""
    rule = {"kind": "bandwidth", "bits_per_second": 8_000, "queue_bytes": 250, "overhead_bytes": 20}
    out = line([rule]).send_at([0, 1, 2, 3, 4], [1000, 100, 100, 100, 5])
    assert out.answers == [True, True, True, False, False]  # 120 and 240 of 250 bytes wait; 360 and 265 do not fit
    assert out.link.dropped_queue == 2


def test_backlog_and_departure(line):
    """queue() counts messages waiting or being sent, and empties as they leave."""
    out = line([{"kind": "bandwidth", "bits_per_second": 8_000_000}])
    for i in range(3):
        out.send(i, 1000)
    assert [out.link.queue(t_us) for t_us in (0, 999, 1000, 2500, 3000)] == [3, 3, 2, 1, 0]


def test_a_slow_line_does_not_drift(line):
    """Ten thousand messages of 1/3 ms leave at the exact multiple: rounding is never carried over."""
    rule = {"kind": "bandwidth", "bits_per_second": 3_000, "queue_messages": 20_000}
    out = line([rule]).send_at(np.zeros(9999, int), 1)
    assert out.arrived[-1][0] == 9999 * 8 * 1_000_000 // 3000
    assert out.arrived[0][0] == 2667


def test_no_waiting_room_for_a_cut_queue(line):
    """A cut empties the queue: the next message is sent at once."""
    out = line([{"kind": "bandwidth", "bits_per_second": 8_000_000}])
    for i in range(5):
        out.send(i, 1000)
    out.link.cut()
    out.send_at([100], 1000)
    assert out.arrived == [(1100, 0)]
    assert out.link.dropped_partition == 5


@pytest.mark.parametrize(("options", "message"), [
    ({}, "bits_per_second: missing: Rate of the line"),
    ({"bits_per_second": 0}, "found 0; expected more than 0"),
    ({"bits_per_second": 9600, "queue_messages": -1}, "queue_messages"),
])
def test_wrong_options(line, options, message):
    """Wrong options are refused with their place."""
    with pytest.raises(ScenarioError, match=message):
        line([{"kind": "bandwidth", **options}])
