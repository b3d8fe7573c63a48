"""``sampan doctor``: what is wrong with this host, an image or an engine, and what to type against it."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence

from sampan.cli.columns import format_columns
from sampan.cli.flags import add_flag
from sampan.cli.render import printable_word
from sampan.doctor.examine import choose_checks, examine, worst_severity
from sampan.doctor.finding import SEVERITIES, Finding
from sampan.doctor.host import Host
from sampan.doctor.looks.engines import LOOKS, look_at_engines
from sampan.doctor.subject import Image, Subject
from sampan.doctor.table import CHECKS

EXIT_CODES = {"ok": 0, "info": 0, "warning": 1, "broken": 2}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("checks", metavar="CHECK", nargs="*", help="only these; --list names them")
    parser.add_argument(
        "--image", metavar="NAME", help="look at this image of the store, too; nothing is pulled"
    )
    parser.add_argument(
        "--engine", choices=tuple(LOOKS), help="look at this engine only, not at all that are here"
    )
    add = parser.add_argument
    add_flag(add, "--network", help="ask the hosts of NGC, too")
    add_flag(add, "--json", help="all findings as JSON")
    add_flag(add, "--list", help="name the checks and end")
    add("-v", "--verbose", action="store_true", help="also what is as it should be")


def main(arguments: argparse.Namespace) -> int:
    """Examine; exit code 0, 1 (warnings) or 2 (something is broken)."""
    if arguments.list:
        rows = [(name, check.scope, check.summary) for name, check in CHECKS.items()]
        print(format_columns(("CHECK", "ABOUT", "WHAT IS CHECKED"), rows))
        return 0
    names = choose_checks(
        arguments.checks,
        image=arguments.image is not None,
        network=arguments.network,
        engine=arguments.engine is not None,
    )
    host = make_host()
    image = _load_image(arguments.image) if arguments.image is not None else None
    scopes = {CHECKS[name].scope for name in names}
    asked = scopes & {"engine", "cdi", "driver"}
    engines = look_at_engines(host, arguments.engine or "") if asked else ()
    findings: list[Finding] = []
    for finding in examine(Subject(host, engines, image), names):
        findings.append(finding)
        if not arguments.json and (arguments.verbose or finding.severity != "ok"):
            print(_render(finding), flush=True)
    worst = worst_severity(findings)
    if arguments.json:
        document = {
            "worst": worst,
            "checks": list(names),
            "findings": [finding._asdict() for finding in findings],
        }
        print(json.dumps(document, indent=2))
    else:
        print(_summarise(names, findings))
    return EXIT_CODES[worst]


def make_host() -> Host:
    """This machine, and the driver where SAMPAN_DRIVER_ROOT says that it is."""
    from sampan.driver.chosen_roots import choose_roots
    from sampan.driver.inventory import take_inventory

    roots = choose_roots()
    return Host(find_inventory=lambda: take_inventory(roots.driver, roots.dev))


def _load_image(name: str) -> Image:
    from sampan.images.documents import read_config, read_document
    from sampan.images.facts_json import load_facts
    from sampan.images.store import locate_image

    stored = locate_image(name)
    pairs = (line.partition("=") for line in read_config(stored.config_path).environment)
    environment = {key: value for key, _, value in pairs}
    return Image(name, load_facts(read_document(stored.facts_path)), environment)


def _render(finding: Finding) -> str:
    lines = [f"{finding.severity}[{finding.id}]: {printable_word(finding.cause)}"]
    for word, text in (
        ("seen as", finding.symptom),
        ("evidence", finding.evidence),
        ("remedy", finding.remedy),
    ):
        if text:
            lines.append(f"  {word + ':':<10}{printable_word(text)}")
    return "\n".join(lines)


def _summarise(names: Sequence[str], findings: Sequence[Finding]) -> str:
    """``37 checks: 1 broken, 2 with warnings, 34 ok``; a check counts by the worst that it says."""
    worst = Counter(
        worst_severity(finding for finding in findings if finding.check == name) for name in names
    )
    words = {"warning": "with warnings", "info": "to know"}
    parts = [f"{worst[one]} {words.get(one, one)}" for one in reversed(SEVERITIES) if worst[one]]
    noun = "check" if len(names) == 1 else "checks"
    return f"{len(names)} {noun}: {', '.join(parts)}"
