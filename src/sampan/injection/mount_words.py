"""``--mount`` of docker and podman. Pure, and light, for commands without GPUs need it too."""

from collections.abc import Sequence


def render_bind(
    source: str, target: str, *, read_only: bool, further: Sequence[str] = ()
) -> list[str]:
    """``--mount`` of a host path, which must exist: ``-v`` would make what is missing, and as root."""
    fields = ["type=bind", f"source={source}", f"target={target}"]
    fields += ["readonly"] if read_only else []
    return ["--mount", ",".join(map(quote_field, (*fields, *further)))]


def quote_field(text: str) -> str:
    """A field of a line of comma-separated values, which ``--mount`` is."""
    if "," not in text and '"' not in text and "\n" not in text:
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
