"""The same act on several containers: each is tried, the failures are printed, one fails all."""

from collections.abc import Callable, Sequence

from sampan.cli.render import print_error
from sampan.errors import SampanError


def for_each(
    names: Sequence[str],
    act: Callable[[str], object],
    *,
    harmless: tuple[type[SampanError], ...] = (),
) -> int:
    """Act on each name and print what the act returns (the name when it returns None).

    Args:
        names: what the user named.
        act: raises SampanError where it fails.
        harmless: failures that are printed and do not count.
    """
    code = 0
    for name in names:
        try:
            result = act(name)
        except SampanError as error:
            print_error(error)
            code = code if isinstance(error, harmless) else 1
        else:
            print(name if result is None else result, flush=True)
    return code
