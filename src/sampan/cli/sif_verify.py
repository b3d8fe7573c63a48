"""``sampan sif verify``: the signatures of a SIF file held against a key."""

import argparse

from sampan.cli.flags import add_flag


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif verify [OPTIONS] FILE"
    parser.add_argument(
        "--key", metavar="FILE", help="a public key in PEM; without it the keys that gpg has count"
    )
    parser.add_argument(
        "--group-id", "-g", metavar="N", type=int, default=0, help="only this group of objects"
    )
    parser.add_argument("--sif-id", "-i", metavar="N", type=int, default=0, help="only this object")
    add_flag(
        parser.add_argument, "--all", "-a", help="refuse a file with objects that nobody has signed"
    )
    add_flag(parser.add_argument, "--json", "-j", help="as JSON")
    parser.add_argument("file", metavar="FILE", help="a SIF file")


def main(arguments: argparse.Namespace) -> int:
    """Print what is verified; exit code 1 when it is not."""
    import json
    from pathlib import Path

    from sampan.cli.render import print_warning, printable
    from sampan.images.sif_dsse import load_public_key
    from sampan.images.sif_signing import Check, check_with_gpg, check_with_key, verify_sif
    from sampan.images.sif_words import kind_word

    check: Check = check_with_gpg
    if arguments.key:
        check = check_with_key(load_public_key(Path(arguments.key).read_bytes()))
    found = verify_sif(
        arguments.file,
        check,
        group=arguments.group_id,
        identity=arguments.sif_id,
        everything=arguments.all,
    )
    if arguments.json:
        document = {
            "verified": [item.identity for item in found.objects],
            "signers": list(found.signers),
            "unsigned": [item.identity for item in found.unsigned],
            "notes": list(found.notes),
        }
        print(json.dumps(document, indent=1))
        return 0
    for note in found.notes:
        print_warning(note)
    if not (arguments.group_id or arguments.sif_id):
        for item in found.unsigned:
            print_warning(f"object {item.identity} ({kind_word(item)}) is not signed")
    for item in found.objects:
        print(printable(f"verified {item.identity}: {kind_word(item)}"))
    for signer in found.signers:
        print(printable(f"signed by {signer}"))
    return 0
