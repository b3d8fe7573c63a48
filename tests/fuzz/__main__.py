"""``python -m fuzz TARGET [libFuzzer's options and directories]``; see scripts/fuzz.

``--list`` names the targets, ``--replay TARGET FILE...`` runs single inputs without the fuzzer, and
``--keep TARGET TO FROM`` copies a corpus by content, shortest first, as far as there is room.
"""

import hashlib
import sys
from pathlib import Path

ROOM = 16 << 10
"""Bytes that the kept corpus of one target may have."""


def main(words: list[str]) -> None:
    if words[1] == "--list":
        from fuzz.targets import TARGETS

        print(*TARGETS, sep="\n")
    elif words[1] == "--replay":
        from fuzz.targets import TARGETS

        for name in words[3:]:
            TARGETS[words[2]].run(Path(name).read_bytes())
    elif words[1] == "--keep":
        keep(Path(words[3]), Path(words[4]))
    else:
        fuzz(words[1], [words[0], *words[2:]])


def keep(target: Path, source: Path) -> None:
    room = ROOM
    for content in sorted({path.read_bytes() for path in source.iterdir()}, key=len):
        room -= len(content)
        if room < 0:
            return
        (target / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)


def fuzz(name: str, words: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["sampan"]):
        from fuzz.targets import TARGETS

    target = TARGETS[name]

    def run(data: bytes) -> None:
        target.run(data)

    # The merge starts this program anew, by its first word and through a shell.
    words[0] = f"{sys.executable} -m fuzz {name}"
    atheris.Setup([*words, f"-max_len={target.longest}"], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
