"""The two ends of a remote shield's channel: what is in force in the field, and what the centre knows of that."""

from __future__ import annotations

import numpy as np

from cosim.simulation.exchange import MAX_UNDER_WAY, Account, CentreEnd, FieldEnds, Order

S = 1_000_000


def test_an_order_that_was_overtaken_is_ignored() -> None:
    """The later sent one stands; but somebody was heard."""
    field = FieldEnds(np.array([0, 0]), 1, 10 * S)
    both = np.array([0, 1])
    field.hear(Order(0, 5 * S, both, np.array([5.0, np.nan])), 6 * S)
    field.hear(Order(0, 4 * S, both, np.array([4.0, 4.0])), 9 * S)
    assert np.array_equal(field.in_force, [5.0, np.nan], equal_nan=True)
    field.fall_back(19 * S)
    assert field.in_force[0] == 5.0
    field.fall_back(19 * S + 1)
    assert np.isnan(field.in_force).all()


def account(t_us: int, confirmed_us: int, in_force: float = np.nan) -> Account:
    """A report of a device with one output."""
    return Account(0, t_us, confirmed_us, np.array([0]), np.zeros(4), np.zeros(5), np.array([in_force]))


def orders(centre: CentreEnd) -> list[float]:
    """What the device may be following."""
    return [float(values[0]) for values, possible in centre.under_way() if possible[0]]


def test_what_may_be_in_force_is_what_was_confirmed_and_all_sent_since() -> None:
    """Also what was sent in between and may have arrived alone."""
    centre = CentreEnd(np.array([0]), 1)
    for t_us, value in ((1, 1.0), (2, 2.0), (3, 2.0), (4, 4.0)):
        centre.sending(np.array([value]), t_us)
    assert np.array_equal(orders(centre), [np.nan, 1.0, 2.0, 4.0], equal_nan=True)
    centre.hear(account(5, 2, 2.0))
    assert orders(centre) == [2.0, 4.0]
    centre.hear(account(4, 1, 1.0))  # an older report
    assert orders(centre) == [2.0, 4.0]
    centre.hear(account(6, 4, 4.0))
    assert orders(centre) == [4.0]
    assert centre.settled(np.array([4.0])).all()
    assert not centre.settled(np.array([2.0])).any()


def test_back_to_what_the_field_reports_is_still_an_order_while_another_is_under_way() -> None:
    """1 was confirmed, 2 is under way: 1 has to be sent again."""
    centre = CentreEnd(np.array([0]), 1)
    centre.sending(np.array([1.0]), 1)
    centre.hear(account(2, 1, 1.0))
    centre.sending(np.array([2.0]), 3)
    assert not centre.settled(np.array([1.0])).any()


def test_orders_that_are_forgotten_are_owned_up_to() -> None:
    """More than are kept, none confirmed; a confirmation ends it."""
    centre = CentreEnd(np.array([0]), 1)
    centre.hear(account(0, -1))
    for t_us in range(1, MAX_UNDER_WAY + 1):
        centre.sending(np.array([float(t_us)]), t_us)
    assert len(orders(centre)) == MAX_UNDER_WAY
    assert centre.has_forgotten
    centre.hear(account(99, MAX_UNDER_WAY))
    assert not centre.has_forgotten


def test_nothing_is_known_of_a_device_whose_orders_are_not_confirmed() -> None:
    """Its reports are young; the way down is dead.  Who has no orders needs none."""
    centre = CentreEnd(np.array([0]), 2)
    centre.hear(account(10 * S, -1))
    centre.hear(account(10 * S, -1)._replace(device=1, slots=np.empty(0, np.int64), in_force=np.empty(0)))
    assert centre.silence_s(11 * S).tolist() == [1.0, 1.0]
    centre.sending(np.array([1.0]), 11 * S)
    assert centre.silence_s(12 * S).tolist() == [12.0, 2.0]
