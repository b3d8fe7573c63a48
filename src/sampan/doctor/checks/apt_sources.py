"""apt refuses everything when two lists name one repository with different keys."""

import shlex
from collections.abc import Iterator

from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.subject import Subject

DIRECTORY = "/etc/apt/sources.list.d"
SYMPTOM = "E: Conflicting values set for option Signed-By regarding source"


def check(subject: Subject) -> Iterator[Finding]:
    """Each repository of the lists, and the key that each list names for it."""
    host = subject.host
    paths = ["/etc/apt/sources.list", *(f"{DIRECTORY}/{name}" for name in host.list(DIRECTORY))]
    keys: dict[str, dict[str, str]] = {}
    for path in paths:
        text = host.read(path)
        entries = _parse_stanzas(text) if path.endswith(".sources") else ()
        if path.endswith(".list"):
            entries = _parse_lines(text)
        for source, key in entries:
            keys.setdefault(source, {}).setdefault(key, path)
    found = False
    for source, signed in sorted(keys.items()):
        if len(signed) > 1:
            found = True
            evidence = "; ".join(f"{path}: {key or 'no Signed-By'}" for key, path in signed.items())
            yield warning(
                "apt-signed-by", f"two lists of apt name {source} with different keys", evidence,
                symptom=SYMPTOM, remedy=f"sudo rm {shlex.quote(list(signed.values())[-1])}, then sudo apt-get update",
            )  # fmt: skip
    if not found:
        yield ok("apt-sources", f"{len(keys)} sources of apt name no two keys")


def _parse_lines(text: str) -> tuple[tuple[str, str], ...]:
    found = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0] not in ("deb", "deb-src"):
            continue
        rest = " ".join(words[1:])
        options = ""
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        key = next(
            (w.partition("=")[2] for w in options.split() if w.lower().startswith("signed-by=")), ""
        )
        fields = rest.split()
        if len(fields) >= 2:
            found.append((f"{fields[0].rstrip('/')} {fields[1]}", key))
    return tuple(found)


def _parse_stanzas(text: str) -> tuple[tuple[str, str], ...]:
    found = []
    for stanza in text.split("\n\n"):
        said: dict[str, str] = {}
        for line in stanza.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line.startswith((" ", "\t", "#")):
                said[name.strip().lower()] = value.strip()
        if said.get("enabled", "").lower() in ("no", "false"):
            continue
        found += [
            (f"{uri.rstrip('/')} {suite}", said.get("signed-by", ""))
            for uri in said.get("uris", "").split()
            for suite in said.get("suites", "").split()
        ]
    return tuple(found)
