"""``sampan sif sign``: signatures into a SIF file, as ``apptainer sign`` makes them."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif sign [OPTIONS] FILE"
    parser.add_argument("--key", metavar="FILE", help="a private key in PEM: ECDSA, RSA or Ed25519")
    parser.add_argument(
        "--gpg-key",
        "-u",
        metavar="KEY",
        default="",
        help="without --key: gpg's key of this name or fingerprint, else its default key",
    )
    parser.add_argument(
        "--group-id", "-g", metavar="N", type=int, default=0, help="only this group of objects"
    )
    parser.add_argument("--sif-id", "-i", metavar="N", type=int, default=0, help="only this object")
    parser.add_argument("file", metavar="FILE", help="a SIF file, which is changed")


def main(arguments: argparse.Namespace) -> int:
    """Sign, and print the numbers of the signatures."""
    import time
    from getpass import getpass
    from pathlib import Path

    from sampan.images.sif_dsse import load_private_key
    from sampan.images.sif_signing import seal_with_gpg, seal_with_key, sign_sif

    if arguments.key:
        key = load_private_key(
            Path(arguments.key).read_bytes(),
            lambda: getpass(f"password of {arguments.key}: ").encode(),
        )
        seal = seal_with_key(key)
    else:
        seal = seal_with_gpg(arguments.gpg_key)
    for number in sign_sif(
        arguments.file,
        seal,
        group=arguments.group_id,
        identity=arguments.sif_id,
        now=int(time.time()),
    ):
        print(number)
    return 0
