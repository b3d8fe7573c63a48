"""``sampan sif build``: a SIF file, or another single file, from anything that holds an image."""

import argparse
import os

from sampan.cli.flags import add_flag
from sampan.cli.pulling import add_pull_option
from sampan.cli.registry_options import add_registry_options, registry_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif build [OPTIONS] FILE SOURCE"
    add = parser.add_argument
    add(
        "--to",
        choices=("sif", "sqsh", "oci-archive", "docker-archive"),
        default="sif",
        help="what FILE becomes: a SIF (default), a squashfs that Enroot starts, or an archive that "
        "docker, podman and skopeo load",
    )
    add(
        "--compression",
        choices=("zstd", "gzip"),
        default="",
        help="of the squashfs: zstd (default), or gzip for kernels before 4.14",
    )
    add("--platform", metavar="OS/ARCH[/VARIANT]", help="which image of several; the host's by default")  # fmt: skip
    add_pull_option(add)
    add_flag(add, "--force", "-F", help="replace FILE")
    add_flag(add, "--quiet", "-q", help="print only warnings")
    add_registry_options(parser)
    add("file", metavar="FILE", help="the file to write")
    add(
        "source",
        metavar="SOURCE",
        help="an image's name; a SIF or .sqsh file; or what sampan import takes",
    )


def main(arguments: argparse.Namespace) -> int:
    """Build it and print its path."""
    import signal
    import sys
    from functools import partial

    from sampan.cli.import_progress import choose_progress
    from sampan.cli.pull_progress import show_pull
    from sampan.cli.transfer_progress import show_transfer
    from sampan.engines.sif_build import BuildOptions, is_local, obtain, write_target
    from sampan.images.sif_output import require_free
    from sampan.images.store_layout import locate_store
    from sampan.model.image import parse_platform

    # A job's end or a timeout comes as SIGTERM: unwind, so that no half-written gigabytes stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    require_free(arguments.file, force=arguments.force)
    store = locate_store(os.environ)
    options = BuildOptions(
        form=arguments.to,
        compression=arguments.compression,
        platform=parse_platform(arguments.platform) if arguments.platform else None,
        policy=arguments.pull,
        settings=registry_settings(arguments),
    )
    begin = partial(
        obtain,
        arguments.source,
        arguments.file,
        store=store,
        environment=os.environ,
        options=options,
    )
    terminal = sys.stderr.isatty()
    if is_local(arguments.source):
        with choose_progress(quiet=arguments.quiet, terminal=terminal) as tell:
            built = begin(progress=tell)
    else:
        form = "quiet" if arguments.quiet else "live" if terminal else "lines"
        with show_pull(form) as show:
            built = begin(planned=show.planned, progress=show.tell)
    with show_transfer(quiet=arguments.quiet) as hear:
        write_target(built, arguments.file, store=store, form=arguments.to, hear=hear)
    print(arguments.file)
    return 0
