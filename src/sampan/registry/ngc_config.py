"""What ``ngc config set`` keeps in ``~/.ngc/config``: key, organisation, team."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sampan.registry.failures import clean_text
from sampan.registry.secret import Secret

_MAXIMUM_CONFIG = 1 << 20
_NOTHING = ("", "no-team", "no-org")


class NgcConfig(NamedTuple):
    """What ``ngc config set`` has written; empty members are not set."""

    key: Secret
    org: str
    team: str


def ngc_config_path(environment: Mapping[str, str]) -> Path:
    """Where the ngc program keeps it; NGC_CLI_HOME moves the directory."""
    return Path(environment.get("NGC_CLI_HOME") or f"{environment.get('HOME', '')}/.ngc", "config")


def read_ngc_config(environment: Mapping[str, str]) -> NgcConfig:
    """``[CURRENT]`` of ``~/.ngc/config``; variables of the ngc program go first for org and team.

    What cannot be read counts as absent: the file is another program's.
    """
    said = _read_section(ngc_config_path(environment))
    key = said.get("apikey", "").strip()
    org = environment.get("NGC_CLI_ORG", "") or said.get("org", "")
    team = environment.get("NGC_CLI_TEAM", "") or said.get("team", "")
    return NgcConfig(
        Secret("" if key.startswith("no-") else key),
        "" if org in _NOTHING else clean_text(org),
        "" if team in _NOTHING else clean_text(team),
    )


def _read_section(path: Path) -> Mapping[str, str]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            parser.read_string(stream.read(_MAXIMUM_CONFIG))
    except (OSError, configparser.Error):
        return {}
    return parser["CURRENT"] if parser.has_section("CURRENT") else {}
