"""How credentials are shown: who, what kind, four characters of a key at the most."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sampan.registry.login import Checked
    from sampan.registry.secret import Credential


def describe_credential(credential: "Credential") -> str:
    """Who one is with a credential, and where it comes from."""
    from sampan.cli.render import printable

    who = printable(credential.username) if credential.username else "an identity token"
    tail = credential.secret.tail()
    ending = f", secret ending in {printable(tail)}" if tail else ""
    return f"{who}{ending}, of {printable(credential.source)}"


def describe_key_details(checked: "Checked") -> list[str]:
    """Lines on what NGC says of a key."""
    key = checked.key
    if key is None:
        return []
    if not key.is_known:
        return ["NGC's API does not know the key, though the registry takes it"]
    parts = [f"{key.kind} key"]
    if key.org:
        parts.append(f"organisation {key.org}")
    if key.user:
        parts.append(f"of {key.user}")
    parts.append(f"expires {key.expires}" if key.expires else "no expiry is known")
    lines = [", ".join(parts)]
    if key.products:
        lines.append(f"services: {', '.join(key.products)}")
    return lines
