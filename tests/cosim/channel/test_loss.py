"""Loss, bursts, copies and damage against theory."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from cosim.channel import Corrupted
from cosim.errors import ScenarioError

N = 60_000


def _got(line, n=N):
    got = np.zeros(n, bool)
    got[[i for _, i in line.arrived]] = True
    return got


@pytest.mark.parametrize("probability", [0.0, 0.01, 0.3, 1.0])
def test_bernoulli_rate(line, probability):
    """The loss rate is the probability, within 3 standard errors; loss is not told to the sender."""
    out = line([{"kind": "loss", "probability": probability}]).send_at(np.arange(N) * 10)
    error = np.sqrt(probability * (1 - probability) / N)
    assert abs(out.link.lost / N - probability) <= 3 * error
    assert out.link.lost == N - len(out.arrived)
    assert all(out.answers)


def _burst_errors(lost):
    return [len(list(run)) for value, run in groupby(lost.tolist()) if value]


def test_gilbert_elliott_rate_and_bursts(line):
    """With loss 0 and 1, the rate is p / (p + r) and bursts are geometric with mean 1 / r."""
    p, r = 0.02, 0.25
    out = line([{"kind": "gilbert_elliott", "p": p, "r": r}], seed=1).send_at(np.arange(N) * 10)
    lost = ~_got(out)
    bad = p / (p + r)
    # Variance of the mean of a two-state chain: autocorrelation (1 - p - r)^k.
    memory = 1 - p - r
    error = np.sqrt(bad * (1 - bad) / N * (1 + memory) / (1 - memory))
    assert abs(lost.mean() - bad) < 3 * error
    bursts = np.array(_burst_errors(lost))
    assert abs(bursts.mean() - 1 / r) < 3 * np.sqrt((1 - r) / r**2 / len(bursts))
    share = (bursts == 1).mean()
    assert abs(share - r) < 3 * np.sqrt(r * (1 - r) / len(bursts))


def test_gilbert_elliott_soft_states(line):
    """With loss in both states the rate is the stationary mix."""
    p, r, good, bad = 0.05, 0.2, 0.01, 0.6
    rule = {"kind": "gilbert_elliott", "p": p, "r": r, "loss_good": good, "loss_bad": bad}
    lost = ~_got(line([rule], seed=2).send_at(np.arange(N) * 10))
    share = p / (p + r)
    rate = (1 - share) * good + share * bad
    memory = 1 - p - r
    # Independent part of the loss, plus the chain's.
    chain = share * (1 - share) * (bad - good) ** 2
    error = np.sqrt((rate * (1 - rate) - chain + chain * (1 + memory) / (1 - memory)) / N)
    assert abs(lost.mean() - rate) < 3 * error


def test_gilbert_elliott_in_time(line):
    """In time, the rate is bad / (good + bad), and messages share their state as the chain's memory says."""
    good_s, bad_s, gap_s = 2.0, 0.5, 0.2
    rule = {"kind": "gilbert_elliott", "mean_good_s": good_s, "mean_bad_s": bad_s}
    lost = ~_got(line([rule], seed=5).send_at((np.arange(N) * gap_s * 1e6).astype(int)))
    bad = bad_s / (good_s + bad_s)
    memory = np.exp(-gap_s * (1 / good_s + 1 / bad_s))
    assert abs(lost.mean() - bad) < 3 * np.sqrt(bad * (1 - bad) / N * (1 + memory) / (1 - memory))
    stay = bad + (1 - bad) * memory
    after_bad = lost[1:][lost[:-1]]
    assert abs(after_bad.mean() - stay) < 3 * np.sqrt(stay * (1 - stay) / len(after_bad))


def test_gilbert_elliott_starts_stationary(line):
    """Over many seeds, the first message is lost with the stationary probability."""
    n = 2000
    rule = {"kind": "gilbert_elliott", "p": 0.1, "r": 0.2}
    lost = sum(line([rule], seed=seed).send_at([0]).link.lost for seed in range(n))
    assert abs(lost / n - 1 / 3) < 3 * np.sqrt(2 / 9 / n)


def test_duplication(line):
    """A copy comes with the probability, its extra delay later, and counts as delivered."""
    rule = {"kind": "duplication", "probability": 0.2, "extra_delay_ms": 3}
    out = line([rule], seed=1).send_at(np.arange(N) * 10)
    assert abs(out.link.duplicated / N - 0.2) < 3 * np.sqrt(0.16 / N)
    assert out.link.delivered == len(out.arrived) == N + out.link.duplicated
    late = [t - 10 * i for t, i in out.arrived if t != 10 * i]
    assert len(late) == out.link.duplicated
    assert set(late) == {3000}


def test_copies_are_judged_on_their_own(line):
    """Rules after a duplication judge each copy: of two, both survive a loss q with probability (1 - q)^2."""
    rules = [{"kind": "duplication", "probability": 1}, {"kind": "loss", "probability": 0.5}]
    out = line(rules, seed=4).send_at(np.arange(N) * 10)
    copies = np.bincount([i for _, i in out.arrived], minlength=N)
    for k, share in ((0, 0.25), (1, 0.5), (2, 0.25)):
        assert abs((copies == k).mean() - share) < 3 * np.sqrt(share * (1 - share) / N)


def test_corruption_is_discarded_and_counted(line):
    """A damaged message is discarded by the checksum and counted as corrupted, not as lost."""
    out = line([{"kind": "corruption", "probability": 0.1}]).send_at(np.arange(N) * 10)
    assert abs(out.link.corrupted / N - 0.1) < 3 * np.sqrt(0.09 / N)
    assert (out.link.lost, len(out.arrived)) == (0, N - out.link.corrupted)


def test_corruption_may_be_delivered(line):
    """With deliver: true the receiver gets the payload marked as Corrupted."""
    out = line([{"kind": "corruption", "probability": 0.1, "deliver": True}]).send_at(np.arange(1000) * 10)
    marked = [payload for _, payload in out.arrived if isinstance(payload, Corrupted)]
    assert len(out.arrived) == 1000
    assert len(marked) == out.link.damaged > 0
    assert out.link.corrupted == 0
    assert all(payload.payload == t // 10 for t, payload in out.arrived if isinstance(payload, Corrupted))


@pytest.mark.parametrize(("rule", "message"), [
    ({"kind": "loss", "probability": 1.5}, r"rules.0.probability: found 1.5; expected at most 1"),
    ({"kind": "loss", "probabilty": 0.5}, r"did you mean 'probability'\?; accepted: kind, probability"),
    ({"kind": "gilbert_elliott", "p": 0.1}, r"either p and r .* or mean_good_s and mean_bad_s"),
    ({"kind": "gilbert_elliott", "p": 0.1, "r": 0.1, "mean_bad_s": 1}, r"either p and r"),
    ({"kind": "gilbert_elliott", "p": 0, "r": 0.1}, r"rules.0.p: found 0; expected more than 0"),
    ({"kind": "duplication"}, r"rules.0.probability: missing: Chance that a message is sent twice"),
    ({"kind": "corruption", "probability": 0.1, "deliver": "maybe"}, r"rules.0.deliver: "),
])
def test_wrong_options_name_what_is_accepted(line, rule, message):
    """Wrong options are refused with place, value and what is accepted."""
    with pytest.raises(ScenarioError, match=message):
        line([rule])
