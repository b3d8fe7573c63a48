"""What to type in place of options that docker, podman, skopeo and Apptainer know and we do not.

A value is never repeated: who types a password on a command line shall not find it in a log too.
"""

from collections.abc import Sequence

from sampan.errors import UsageError

_CREDENTIALS = ("-p", "--password", "--creds", "--src-creds", "--dest-creds",
                "--src-password", "--dest-password", "--src-registry-token",
                "--dest-registry-token", "--registry-token")  # fmt: skip
_FILES = ("--authfile", "--src-authfile", "--dest-authfile", "--compat-auth-file")
_TLS = ("--src-tls-verify", "--dest-tls-verify", "--insecure", "--plain-http", "--no-https")
_PLATFORM = ("--arch", "--os", "--variant", "--override-arch", "--override-os")
_OF_RUN = {
    "--nv": "sampan run --gpus all ...",
    "--nvccli": "sampan run --gpus all ...",
    "--runtime": "sampan run --gpus all ...    (no runtime has to be named)",
    "-B": "sampan run -v SOURCE:TARGET ...",
    "--bind": "sampan run -v SOURCE:TARGET ...",
    "--pwd": "sampan run -w DIR ...",
    "--cwd": "sampan run -w DIR ...",
    "--writable-tmpfs": "leave it out: what is written lives in memory anyway",
    "-P": "sampan run -p HOST:PORT ..., once for each port",
    "--publish-all": "sampan run -p HOST:PORT ..., once for each port",
    "--privileged": "name what is needed: --cap-add, --device, --security-opt, --gpus",
    "--restart": "leave it out, and have a unit of systemd start sampan run",
}
_OWN_MEANING = frozenset({"run", "exec"})
"""Commands whose ``-p`` and the like mean something else."""


def refuse_unknown(command: str, words: Sequence[str]) -> UsageError:
    """The error for words that a command does not know, with what to type instead where that is known.

    Args:
        command: its name.
        words: as typed.
    """
    names = [_name_of(word) for word in words if word.startswith("-")]
    options = set(names)
    if command not in _OWN_MEANING and options.intersection(_CREDENTIALS):
        return UsageError(
            "no password is taken from the command line",
            evidence=f"{' '.join(names)}: every user of this machine can read it there",
            remedy="sampan login REGISTRY asks for it unseen, or takes --password-stdin; "
            "if it was a real one, make a new one",
        )
    remedy = f"sampan {command} --help shows the options"
    if options.intersection(_FILES):
        remedy = f"REGISTRY_AUTH_FILE=FILE sampan {command} ..."
    elif options.intersection(_TLS):
        remedy = f"sampan {command} --tls-verify=false ..."
    elif options.intersection(_PLATFORM):
        remedy = f"sampan {command} --platform OS/ARCH[/VARIANT] ..."
    elif command == "pull" and options.intersection(("-a", "--all-tags")):
        remedy = "sampan mirror takes all tags of a repository"
    elif command == "run":
        remedy = next((_OF_RUN[name] for name in names if name in _OF_RUN), remedy)
    shown = names or words
    return UsageError(f"unrecognized arguments: {' '.join(shown)}", remedy=remedy)


def _name_of(word: str) -> str:
    """An option without its value: ``--name`` of ``--name=value``, ``-n`` of ``-nvalue``."""
    return word.partition("=")[0] if word.startswith("--") else word[:2]
