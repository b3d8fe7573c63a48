"""``sampan`` typed into a shell with a home of its own, behind a proxy; its keys must never show."""

import base64
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


class Shell:
    """Runs commands; what they print must hold none of the secrets."""

    def __init__(self, home: Path, proxy: str, authority: Path, secrets: Sequence[str]) -> None:
        self.home = home
        self.secrets = secrets
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ":".join(sys.path),
            "PYTHONWARNINGS": "error",
            "HOME": str(home),
            "SAMPAN_STORE": str(home / "store"),
            "HTTPS_PROXY": proxy,
            "SSL_CERT_FILE": str(authority),
        }

    def __call__(
        self,
        *words: str,
        stdin: str = "",
        variables: Mapping[str, str] | None = None,
        code: int = 0,
    ) -> str:
        """Standard output and standard error of a command that must end with ``code``."""
        done = self.run(*words, stdin=stdin, variables=variables)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(
        self, *words: str, stdin: str = "", variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same with both streams apart, and any exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "sampan", *words],
            env={**self.environment, **(variables or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        said = done.stdout + done.stderr
        for key in self.secrets:
            assert key not in said
            assert base64.b64encode(f"$oauthtoken:{key}".encode()).decode() not in said
        return done
