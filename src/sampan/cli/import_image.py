"""``sampan import``: an image of the store from an archive, a layout, a tar or a directory."""

import argparse
import os
import signal
import sys

from sampan.images.store_layout import COMPRESSIONS


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan import [OPTIONS] SOURCE [NAME]"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
sources:
  oci:DIRECTORY[:TAG]          an OCI image layout (skopeo, umoci, buildx)
  oci-archive:FILE[:TAG]       the same in a tar
  docker-archive:FILE[:TAG]    what docker save and podman save write
  rootfs:PATH                  a root file system: a directory, or a tar (plain, gzip, zstd, xz)
  sif:FILE                     a SIF file; its OCI configuration is kept where it has one
  squashfs:FILE                a root file system as squashfs, e.g. of Enroot (.sqsh)
  PATH                         one of these, recognised by what is in it
FILE - is standard input: docker save IMAGE | sampan import docker-archive:- NAME
"""
    parser.add_argument(
        "--compression",
        choices=COMPRESSIONS,
        default="zstd",
        help="of the image file: zstd (default), or gzip for kernels before 4.14",
    )
    parser.add_argument(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        help="which image of several, e.g. linux/arm64; the host's by default",
    )
    parser.add_argument(
        "--change",
        "-c",
        action="append",
        default=[],
        metavar="INSTRUCTION",
        help="change the configuration by an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, "
        "LABEL, WORKDIR, USER, STOPSIGNAL, VOLUME, EXPOSE; may be repeated",
    )
    parser.add_argument(
        "--max-ratio",
        type=int,
        metavar="N",
        help="refuse layers that inflate to more than N times their size (a trusted image of "
        "zeros may need more than the default)",
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="print nothing but the id")
    parser.add_argument("source", metavar="SOURCE", help="where the image is, see below")
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        default="",
        help="the image's name, e.g. my/image:1.0; may be left out when the source carries one",
    )


def main(arguments: argparse.Namespace) -> int:
    """Import and print the image's id."""
    from sampan.cli.import_progress import choose_progress
    from sampan.images.importer import ImportOptions, import_image
    from sampan.images.limits import DEFAULT_LIMITS
    from sampan.images.store_layout import locate_store
    from sampan.model.image import parse_platform

    # A job's end or a timeout comes as SIGTERM: unwind, so that no half-written gigabytes stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    limits = DEFAULT_LIMITS
    if arguments.max_ratio is not None:
        limits = limits._replace(max_ratio=arguments.max_ratio)
    options = ImportOptions(
        platform=parse_platform(arguments.platform) if arguments.platform else None,
        compression=arguments.compression,
        changes=tuple(arguments.change),
        limits=limits,
    )
    with choose_progress(quiet=arguments.quiet, terminal=sys.stderr.isatty()) as tell:
        image = import_image(
            arguments.source,
            arguments.name,
            store=locate_store(os.environ),
            options=options,
            progress=tell,
        )
    print(image.digest)
    return 0
