"""--security-opt: new privileges, system call filter, AppArmor, masked paths.

Words as docker's: ``no-new-privileges[=BOOL]``, ``seccomp=unconfined|FILE``, ``apparmor=PROFILE``,
``label=disable`` (SELinux: the native engine sets no label), ``systempaths=unconfined``.
"""

from typing import Any, NamedTuple

from sampan.errors import UsageError


class SecurityOptions(NamedTuple):
    """What the words mean.

    Attributes:
        seccomp: ``linux.seccomp``; None = no filter.
        annotations: for config.json, e.g. a filter compiled beforehand.
        masks: docker's masked and read-only paths apply.
    """

    no_new_privileges: bool = False
    apparmor_profile: str = ""
    masks: bool = True
    seccomp: dict[str, Any] | None = None
    annotations: tuple[tuple[str, str], ...] = ()


class SecurityWords(NamedTuple):
    """The options as given; ``seccomp`` is ``default``, ``unconfined`` or a file's path."""

    no_new_privileges: bool
    apparmor_profile: str
    masks: bool
    seccomp: str


def parse_security_options(options: tuple[str, ...]) -> SecurityWords:
    """Read the words of --security-opt.

    Raises:
        UsageError: an unknown option or value.
    """
    no_new_privileges, apparmor, masks, seccomp = False, "", True, "default"
    for option in options:
        name, separator, value = option.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges" and value in ("", "true", "false"):
            no_new_privileges = value != "false"
        elif name == "seccomp" and value:
            seccomp = value
        elif name == "apparmor" and value:
            apparmor = value
        elif name == "systempaths" and value == "unconfined":
            masks = False
        elif name == "label" and separator:
            # SELinux labels are not set by this engine, so there is nothing to disable or change.
            continue
        else:
            raise UsageError(
                f"--security-opt {option} is not known",
                remedy="no-new-privileges, seccomp=unconfined|FILE, apparmor=PROFILE, "
                "label=disable, systempaths=unconfined",
            )
    return SecurityWords(no_new_privileges, apparmor, masks, seccomp)
