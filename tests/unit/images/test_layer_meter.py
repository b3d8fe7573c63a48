"""What holds a layer up is told from where its threads spend their time."""

import pytest

from sampan.images.metering import LayerMeter, LayerProgress


class Machine:
    """A clock, a stream that was waited for, and threads that were busy."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited_s = 0.0
        self.busy_s = 0.0
        self.said: list[LayerProgress] = []

    def meter(self, size: int = 100) -> LayerMeter:
        return LayerMeter(
            self.said.append, size, self, clock=lambda: self.now, busy=lambda: self.busy_s
        )


@pytest.mark.parametrize(
    ("waited", "busy", "limit"), [(0.9, 0.1, "network"), (0.1, 0.9, "cpu"), (0.1, 0.1, "disk")]
)
def test_the_limit_is_where_the_time_goes(waited: float, busy: float, limit: str) -> None:
    machine = Machine()
    meter = machine.meter()
    machine.now, machine.waited_s, machine.busy_s = 1.0, waited, busy
    meter(10)
    assert machine.said == [LayerProgress(10, "fetch", limit)]


def test_reports_are_few_and_the_last_one_comes_in_any_case() -> None:
    machine = Machine()
    meter = machine.meter()
    for done in range(1, 101):
        machine.now += 0.01
        meter(done)
    assert len(machine.said) < 15
    assert machine.said[-1] == LayerProgress(100, "pack", machine.said[-1].limit)
