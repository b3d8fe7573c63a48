"""The child process that talks to the key ring: ``python -m``, words on standard input, JSON out.

A key ring may ask the user to unlock it, wait for a bus that does not answer, or load what we do not
know: none of that happens in our own process. Secrets go through pipes alone.
"""

import json
import sys


def main() -> int:
    """``{"action": "get"|"set"|"delete", "service": …, "user": …, "secret": …}`` → ``{…}``.

    Exit codes: 0 done, 1 no such entry, 2 no usable key ring, 3 it fails.
    """
    words = json.load(sys.stdin)
    try:
        import keyring
        import keyring.errors
    except ImportError:
        return 2
    # Those that keep secrets in plain files, or nowhere, have less than 1.
    if keyring.get_keyring().priority < 1:
        return 2
    service, user = words["service"], words["user"]
    try:
        if words["action"] == "set":
            keyring.set_password(service, user, words["secret"])
        elif words["action"] == "delete":
            keyring.delete_password(service, user)
        else:
            secret = keyring.get_password(service, user)
            if secret is None:
                return 1
            json.dump({"secret": secret}, sys.stdout)
    except keyring.errors.PasswordDeleteError:
        return 1
    except Exception as error:
        # Its kind alone: the text is a stranger's.
        sys.stderr.write(type(error).__name__)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
