"""A root directory with a dynamic loader, a C library and one program, made on this machine."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.compiled import compile_c, compile_library

PROGRAM = """
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* NAME: what who() of that library says; /PATH: numbers of a node or size of a file; $VARIABLE. */
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        struct stat status;
        if (argv[i][0] == '$') {
            const char *value = getenv(argv[i] + 1);
            printf("%s %s\\n", argv[i], value ? value : "-");
        } else if (argv[i][0] == '/') {
            if (stat(argv[i], &status))
                printf("%s absent\\n", argv[i]);
            else if (S_ISCHR(status.st_mode))
                printf("%s %u:%u\\n", argv[i], major(status.st_rdev), minor(status.st_rdev));
            else
                printf("%s %ld\\n", argv[i], (long)status.st_size);
        } else {
            void *library = dlopen(argv[i], RTLD_NOW);
            int (*who)(void) = library ? (int (*)(void))dlsym(library, "who") : 0;
            printf("%s %d\\n", argv[i], who ? who() : -1);
        }
    }
    return 0;
}
"""


class SmallRoot:
    """The directory ``path``; ``/program`` in it opens libraries and looks at files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        source = path / "program.c"
        source.write_text(PROGRAM)
        program = compile_c(source, path / "program")
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        for word in listed.stdout.split():
            if word.startswith("/"):
                copy = path / word.lstrip("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, copy)
        (path / "etc").mkdir(exist_ok=True)

    def add_library(self, place: str, number: int, soname: str = "") -> Path:
        """A library at ``place`` whose ``who()`` returns ``number``."""
        source = self.path / "library.c"
        source.write_text(f"int who(void) {{ return {number}; }}")
        target = self.path / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        return compile_library(source, target, soname or target.name)

    def run(self, *words: str) -> list[str]:
        """What ``/program`` prints for each word, in a chroot."""
        command = ["chroot", str(self.path), "/program", *words]
        if os.geteuid() != 0:
            command = ["unshare", "--map-root-user", *command]
        done = subprocess.run(command, capture_output=True, text=True)
        if "unshare failed" in done.stderr or "cannot change root" in done.stderr:
            pytest.skip(f"no chroot here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()
