"""How many connections a layer deserves: what each number of them brought decides. No I/O.

One connection fills most links. It does not where the server or the path limits each connection,
or where the path is so long that a connection's window does not cover it. So: one at first; while
the network is what we wait for, twice as many are tried, and kept where they bring clearly more.
"""

STEPS = (1, 2, 4, 6)
"""Numbers of connections that are tried, in this order."""

_FAST = 250e6
"""Bytes a second that need no second connection: more than a layer is unpacked in."""

_WAITING_SHARE = 0.5
_GAIN = 1.2

MEASURED_S = 1.5
"""Seconds over which a rate is taken."""

SETTLING_S = 0.5
"""Seconds after a change that are not looked at."""


class Pace:
    """The decision for one layer.

    Attributes:
        connections: to be used now.
        is_settled: whether that is final.
    """

    def __init__(self) -> None:
        self.connections = 1
        self.is_settled = False
        self._best = 0.0

    def probe(self, rate: float, waiting_share: float) -> None:
        """Hear how the first part went.

        Args:
            rate: bytes a second.
            waiting_share: of the time, spent waiting for the network.
        """
        self._best = rate
        if waiting_share < _WAITING_SHARE or rate > _FAST:
            self.is_settled = True
        else:
            self.connections = STEPS[1]

    def measure(self, rate: float, waiting_share: float) -> None:
        """Hear the rate that the present number of connections brings, and decide."""
        if self.is_settled:
            return
        step = STEPS.index(self.connections)
        if rate < self._best * _GAIN:
            self.connections = STEPS[step - 1]
            self.is_settled = True
            return
        self._best = rate
        if step + 1 == len(STEPS) or waiting_share < _WAITING_SHARE or rate > _FAST:
            self.is_settled = True
        else:
            self.connections = STEPS[step + 1]
