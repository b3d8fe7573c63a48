"""Files with keys of registries: readable by their owner alone."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping

from sampan.doctor.finding import Finding, broken, ok, warning
from sampan.doctor.subject import Subject
from sampan.registry.auth_files import docker_file, our_file

OURS = "error[credentials]: auth.json is open to other users"


def check(subject: Subject) -> Iterator[Finding]:
    """Sampan's, containers', docker's and NGC's own files; not a word of them is printed."""
    host = subject.host
    found = False
    ours = str(our_file(host.environment))
    seen = 0
    for path in list_files(host.environment):
        status = host.status(path)
        if status is None:
            continue
        seen += 1
        if not status.st_mode & 0o077 and status.st_uid in (0, host.uid):
            continue
        if path != ours and not _has_keys(host.read(path)):
            continue
        found = True
        evidence = f"mode {status.st_mode & 0o7777:04o}, owner {status.st_uid}"
        remedy = f"chmod 600 {shlex.quote(path)}; if others were on this machine, make new keys too"
        if path == ours:
            yield broken("credentials-open", f"{path} is open to other users, so it is not used", evidence,
                symptom=OURS, remedy=remedy,
            )  # fmt: skip
        else:
            yield warning("credentials-open", f"{path} holds keys and is open to other users", evidence,
                remedy=remedy,
            )  # fmt: skip
    if not found:
        yield ok("credentials", f"{seen} files with credentials, none open to others")


def list_files(environment: Mapping[str, str]) -> list[str]:
    """Where keys are kept, in the order of ``registry.auth_files``, then the NGC CLI's file."""
    home = environment.get("HOME", "") or os.path.expanduser("~")
    base = environment.get("XDG_CONFIG_HOME") or f"{home}/.config"
    files = [str(our_file(environment)), environment.get("REGISTRY_AUTH_FILE", "")]
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        files.append(f"{runtime}/containers/auth.json")
    files += [f"{base}/containers/auth.json", str(docker_file(environment)), f"{home}/.ngc/config"]
    return [path for path in dict.fromkeys(files) if path.startswith("/")]


def _has_keys(text: str) -> bool:
    if "apikey" in text:
        return True
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    auths = document.get("auths") if isinstance(document, dict) else None
    entries = auths.values() if isinstance(auths, dict) else ()
    return any(
        isinstance(entry, dict) and (entry.get("auth") or entry.get("identitytoken"))
        for entry in entries
    )
