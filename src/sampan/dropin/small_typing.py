"""What our modules need of ``typing`` at run time, in a twentieth of its start-up time.

``sampan-hook`` is one process of each container's start; half of what it did there was to import
``typing`` and ``json``. Its installed library has this file under the name ``typing``, before the
standard library's. Nothing else there asks for ``typing``; a test compares what the hook imports.
"""

from __future__ import annotations

try:
    from _collections import _tuplegetter  # type: ignore[import-not-found]
except ImportError:
    from operator import itemgetter

    def _tuplegetter(place: int, _: str) -> property:
        return property(itemgetter(place))


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Any:
    """Stands in annotations."""


Self = NoReturn = Any


def get_args(annotation: object) -> tuple[object, ...]:
    """The arguments of a generic alias."""
    return tuple(getattr(annotation, "__args__", ()))


class _Record(tuple):  # type: ignore[type-arg]
    """What every record has, apart from its fields."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()
    _field_defaults: dict[str, object] = {}  # noqa: RUF012 - replaced in each class

    def __new__(cls, *values: object, **named: object) -> _Record:  # noqa: PYI034 - there is no Self
        fields = cls._fields
        if len(values) > len(fields):
            raise TypeError(f"{cls.__name__} has {len(fields)} fields, not {len(values)}")
        if len(values) < len(fields) or named:
            rest = []
            for field in fields[len(values) :]:
                if field in named:
                    rest.append(named.pop(field))
                elif field in cls._field_defaults:
                    rest.append(cls._field_defaults[field])
                else:
                    raise TypeError(f"{cls.__name__} misses {field}")
            if named:
                raise TypeError(f"{cls.__name__} has no field {next(iter(named))}")
            values = (*values, *rest)
        return tuple.__new__(cls, values)

    def _replace(self, **named: object) -> _Record:
        values = [named.pop(field, value) for field, value in zip(self._fields, self, strict=True)]
        if named:
            raise ValueError(f"no field {next(iter(named))}")
        return tuple.__new__(type(self), values)

    def _asdict(self) -> dict[str, object]:
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        pairs = (f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({', '.join(pairs)})"


def _annotations(body: dict[str, object]) -> dict[str, object]:
    if "__annotations__" not in body:
        # From 3.14 on they are computed when somebody asks; 1 asks for their values.
        annotate = body.pop("__annotate_func__", None) or body.pop("__annotate__", None)
        return dict(annotate(1)) if callable(annotate) else {}
    annotations: dict[str, object] = body["__annotations__"]  # type: ignore[assignment]
    return annotations


class _Maker(type):
    def __new__(cls, name: str, _: tuple[type, ...], body: dict[str, object]) -> type:
        made = dict(body)
        fields = tuple(_annotations(made))
        made["_field_defaults"] = {field: made.pop(field) for field in fields if field in made}
        made["_fields"] = made["__match_args__"] = fields
        made["__slots__"] = ()
        made.update((field, _tuplegetter(place, "")) for place, field in enumerate(fields))
        return type(name, (_Record,), made)


NamedTuple: Callable[..., type] = type.__new__(_Maker, "NamedTuple", (), {})
