"""How many connections a layer gets: only so many as bring something."""

from sampan.registry.pace import STEPS, Pace


def rates_settle_at(bring: dict[int, float], waiting: float = 1.0) -> int:
    pace = Pace()
    pace.probe(bring[1], waiting)
    while not pace.is_settled:
        pace.measure(bring[pace.connections], waiting)
    return pace.connections


def test_a_link_that_one_connection_fills_keeps_one() -> None:
    assert rates_settle_at({1: 10e6, 2: 10.5e6}) == 1


def test_connections_that_are_limited_each_become_as_many_as_there_may_be() -> None:
    assert rates_settle_at({number: number * 5e6 for number in STEPS}) == STEPS[-1]


def test_the_last_number_that_brought_something_is_kept() -> None:
    assert rates_settle_at({1: 10e6, 2: 20e6, 4: 21e6}) == 2


def test_a_fast_link_is_left_alone() -> None:
    assert rates_settle_at({1: 900e6}) == 1


def test_where_unpacking_is_what_takes_the_time_nothing_is_tried() -> None:
    assert rates_settle_at({1: 50e6}, waiting=0.2) == 1


def test_growing_stops_when_the_network_is_no_longer_what_is_waited_for() -> None:
    pace = Pace()
    pace.probe(20e6, 0.9)
    pace.measure(40e6, 0.3)
    assert (pace.connections, pace.is_settled) == (2, True)
