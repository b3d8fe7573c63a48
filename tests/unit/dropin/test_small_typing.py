"""The hook's own ``typing`` makes records that behave as those of the standard library's."""

import typing
from types import ModuleType

import pytest

from sampan.dropin import small_typing

SOURCE = """
class Point(NamedTuple):
    x: int
    y: int = 2
    name: str = ""

    @property
    def sum(self) -> int:
        return self.x + self.y

    def moved(self, by: int) -> "Point":
        return self._replace(x=self.x + by)
"""


def make(module: ModuleType) -> typing.Any:
    names: dict[str, typing.Any] = {"NamedTuple": module.NamedTuple, "__name__": "test"}
    exec(SOURCE, names)
    return names["Point"]


@pytest.mark.parametrize(
    "use",
    [
        lambda point: tuple(point(1)),
        lambda point: tuple(point(1, 5, name="a")),
        lambda point: tuple(point(y=3, x=4)),
        lambda point: point(1).sum,
        lambda point: tuple(point(1).moved(4)),
        lambda point: point(1)._asdict(),
        lambda point: point._fields,
        lambda point: point._field_defaults,
        lambda point: repr(point(1)),
        lambda point: point(1) == (1, 2, ""),
        lambda point: point(1) == point(1, 2),
        lambda point: hash(point(1)) == hash((1, 2, "")),
        lambda point: isinstance(point(1), tuple),
        lambda point: point(1)[0:2],
    ],
)
def test_a_record_answers_as_a_named_tuple(use: typing.Callable[[typing.Any], object]) -> None:
    assert use(make(small_typing)) == use(make(typing))


@pytest.mark.parametrize(
    "use",
    [
        lambda point: point(),
        lambda point: point(1, 2, "", 4),
        lambda point: point(1, z=1),
        lambda point: point(1, x=1),
        lambda point: setattr(point(1), "x", 3),
        lambda point: point(1)._replace(z=1),
    ],
)
def test_a_record_refuses_as_a_named_tuple(use: typing.Callable[[typing.Any], object]) -> None:
    for module in (small_typing, typing):
        with pytest.raises((TypeError, ValueError, AttributeError)):
            use(make(module))
