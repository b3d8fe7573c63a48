"""The system call filter of the container (draft: none)."""

from sampan.engines.native.host import Host
from sampan.engines.native.runtime import Runtime
from sampan.engines.native.security import SecurityOptions, parse_security_options


def load_security(options: tuple[str, ...], host: Host, runtime: Runtime) -> SecurityOptions:
    words = parse_security_options(options)
    return SecurityOptions(words.no_new_privileges, words.apparmor_profile, words.masks)
