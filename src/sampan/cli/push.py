"""``sampan push``: an image of the store, or a SIF file, to a registry."""

import argparse
import os

from sampan.cli.flags import add_flag
from sampan.cli.registry_options import add_registry_options, registry_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan push [OPTIONS] NAME [DESTINATION]"
    parser.epilog = """\
examples:
  sampan push nvcr.io/my-org/app:1.0
  sampan push app:1.0 registry.example/team/app:1.0
  sampan push app:1.0 oras://registry.example/team/app:1.0     as one SIF file, for Apptainer
  sampan push app.sif oras://registry.example/team/app:1.0     a SIF file of yours
"""
    parser.add_argument(
        "--compression",
        "--compression-format",
        choices=("gzip", "zstd", "none"),
        default="",
        help="of the layers: gzip (default), zstd, none; when given, layers that the registry "
        "has in another form are sent again",
    )
    parser.add_argument(
        "--compression-level", type=int, metavar="N", help="gzip 1 to 9 (1), zstd 1 to 19 (3)"
    )
    parser.add_argument(
        "--format",
        "-f",
        choices=("oci", "v2s2"),
        default="oci",
        help="of the manifest: OCI's (default), or docker's for old registries",
    )
    parser.add_argument("--jobs", type=int, default=3, metavar="N", help="layers sent at once (3)")
    parser.add_argument("--digestfile", metavar="FILE", help="write the manifest's digest there")
    add_flag(parser.add_argument, "--quiet", "-q", help="print nothing but the digest")
    add_registry_options(parser)
    parser.add_argument("name", metavar="NAME", help="an image's name or id, or a SIF file")
    parser.add_argument(
        "destination",
        metavar="DESTINATION",
        nargs="?",
        default="",
        help="[REGISTRY/]NAME[:TAG], or oras://...; without it the image's own name",
    )


def main(arguments: argparse.Namespace) -> int:
    """Push and print the manifest's digest."""
    from sampan.cli.digest_file import write_digest
    from sampan.cli.transfer_progress import show_transfer
    from sampan.engines.artifacts import is_artifact_push, push_sif
    from sampan.engines.push import PushOptions, push_image
    from sampan.images.store_layout import locate_store

    store = locate_store(os.environ)
    with show_transfer(quiet=arguments.quiet) as hear:
        if is_artifact_push(arguments.name, arguments.destination):
            digest = push_sif(
                arguments.name,
                arguments.destination,
                store=store,
                environment=os.environ,
                settings=registry_settings(arguments),
                hear=hear,
            )
        else:
            digest = push_image(
                arguments.name,
                arguments.destination,
                store=store,
                environment=os.environ,
                options=PushOptions(
                    compression=arguments.compression,
                    level=arguments.compression_level,
                    form=arguments.format,
                    jobs=arguments.jobs,
                    settings=registry_settings(arguments),
                ),
                hear=hear,
            ).digest
    write_digest(arguments.digestfile, digest)
    print(digest)
    return 0
