"""``sampan copy``: an image from one registry, layout or archive to another, bytes unchanged."""

import argparse
import os

from sampan.cli.flags import add_flag
from sampan.cli.registry_options import add_registry_options, registry_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan copy [OPTIONS] SOURCE DESTINATION"
    parser.epilog = """\
ends:
  [docker://][REGISTRY/]NAME[:TAG]   a registry
  oci:DIRECTORY[:TAG]                an OCI image layout; as a destination others stay in it
  oci-archive:FILE[:TAG]             the same in a new tar
Nothing is packed and the store is not used; digests stay. What is there is not copied again.
"""
    add_flag(parser.add_argument, "--all", "-a", help="an index with the images of all platforms")
    parser.add_argument(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        default="",
        help="which image of several, e.g. linux/arm64; the host's by default",
    )
    parser.add_argument("--jobs", type=int, default=3, metavar="N", help="blobs copied at once (3)")
    parser.add_argument("--digestfile", metavar="FILE", help="write the digest there")
    add_flag(parser.add_argument, "--quiet", "-q", help="print nothing but the digest")
    add_registry_options(parser)
    parser.add_argument("source", metavar="SOURCE", help="see below")
    parser.add_argument("destination", metavar="DESTINATION", help="see below")


def main(arguments: argparse.Namespace) -> int:
    """Copy and print the digest."""
    from sampan.cli.digest_file import write_digest
    from sampan.cli.transfer_progress import show_transfer
    from sampan.engines.copy import CopyOptions, copy_image
    from sampan.errors import UsageError
    from sampan.model.image import parse_platform

    if arguments.all and arguments.platform:
        raise UsageError("--all and --platform contradict each other", remedy="leave one out")
    with show_transfer(quiet=arguments.quiet) as hear:
        result = copy_image(
            arguments.source,
            arguments.destination,
            environment=os.environ,
            options=CopyOptions(
                every_platform=arguments.all,
                platform=parse_platform(arguments.platform) if arguments.platform else None,
                jobs=arguments.jobs,
                settings=registry_settings(arguments),
            ),
            hear=hear,
        )
    write_digest(arguments.digestfile, result.digest)
    print(result.digest)
    return 0
