"""``sampan accept-license``: read the terms of a repository at NGC and accept them."""

import argparse
import os
import sys

from sampan.cli.flags import add_flag
from sampan.errors import UsageError
from sampan.model.reference import parse_reference
from sampan.registry.failures import UnauthorizedError
from sampan.registry.ngc_api import NgcApi, open_api
from sampan.registry.ngc_repository import NgcRepository, Terms, accept_terms, find_repository
from sampan.registry.settings import NGC


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan accept-license [OPTIONS] REFERENCE"
    add_flag(
        parser.add_argument, "--yes", "-y", help="accept without being asked, after they are shown"
    )
    parser.add_argument(
        "reference", metavar="REFERENCE", help="nvcr.io/ORG[/TEAM]/IMAGE; a tag changes nothing"
    )


def main(arguments: argparse.Namespace) -> int:
    """Show, ask, accept."""
    from sampan.cli.render import print_warning

    reference = parse_reference(arguments.reference)
    if reference.registry != NGC:
        raise UsageError(
            f"{reference.registry} has no terms that could be accepted from here",
            remedy="only nvcr.io has: sampan accept-license nvcr.io/ORG[/TEAM]/IMAGE",
        )
    with open_api(os.environ, repository=reference.repository) as api:
        if api.is_guest:
            raise UnauthorizedError(
                "terms are accepted by an account: NGC has to know who you are",
                evidence="no key for nvcr.io was found",
                remedy="sampan login nvcr.io    (or set NGC_API_KEY)",
            )
        found = find_repository(api, reference.repository, as_member=True)
        code = _settle(api, found, agreed=arguments.yes)
        for note in api.notes:
            print_warning(note)
    return code


def _settle(api: NgcApi, found: NgcRepository, *, agreed: bool) -> int:
    due = [terms for terms in found.terms if terms.is_due]
    if not due:
        what = "its terms are accepted already" if found.terms else "it has no terms to accept"
        print(f"{NGC}/{found.repository}: {what}")
        return 0
    for terms in due:
        _show(found, terms)
    if not agreed and not _ask():
        print("nothing was accepted", file=sys.stderr)
        return 1
    for terms in due:
        accept_terms(api, found.repository, terms)
    print(f"accepted; the image can be pulled: sampan pull {NGC}/{found.repository}:TAG")
    return 0


def _show(found: NgcRepository, terms: Terms) -> None:
    from sampan.cli.render import printable

    title = terms.title or terms.identity
    print(printable(f"Terms of {NGC}/{found.repository}: {title}, version {terms.version}"))
    print()
    print(printable(terms.text) or "NGC gives no text; it stands on the page of the image.")
    print()
    sys.stdout.flush()


def _ask() -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on",
            evidence="standard input is a pipe, a file or closed",
            remedy="read the terms above, then: sampan accept-license --yes REFERENCE",
        )
    sys.stderr.write("accept these terms for your account? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
