"""From a name to what refers to it in its registry."""

from collections.abc import Mapping
from typing import NamedTuple

from sampan.model.reference import parse_reference
from sampan.registry.origins import open_origin
from sampan.registry.referrers import Referrer, list_referrers
from sampan.registry.settings import DEFAULT_SETTINGS, Settings
from sampan.registry.shared_clients import shared_client


class Referred(NamedTuple):
    """What a name means, and the documents about it."""

    digest: str
    referrers: tuple[Referrer, ...]


def find_referrers(
    name: str,
    kind: str = "",
    *,
    environment: Mapping[str, str],
    settings: Settings = DEFAULT_SETTINGS,
) -> Referred:
    """The documents that refer to what a name means.

    Args:
        name: of an image or artifact, by tag or digest.
        kind: an artifact type; empty = all.
        environment: variables: credentials, proxies, homes.
        settings: patience and trust.

    Raises:
        SampanError: the registry cannot be asked, or has no such name.
    """
    reference = parse_reference(name)._replace(is_artifact=False)
    with open_origin(reference, environment, settings) as origin:
        client = shared_client(origin)
        digest = reference.digest or client.get_manifest(reference).digest
        found = list_referrers(client, reference.repository, digest, kind)
    return Referred(digest, tuple(found))
