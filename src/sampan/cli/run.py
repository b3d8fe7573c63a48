"""``sampan run``: a command in a new container."""

import argparse
import os
import sys

from sampan.cli.pulling import with_image
from sampan.cli.registry_options import registry_settings
from sampan.cli.render import print_warning
from sampan.cli.run_options import configure, parse_spec
from sampan.engines.native import trace
from sampan.errors import UsageError

__all__ = ["configure", "main"]


def main(arguments: argparse.Namespace) -> int:
    """Run the container; the exit code is the container's own.

    Raises:
        SampanError: it cannot be started.
    """
    trace.mark("interpreter, options")
    spec = parse_spec(arguments)
    if spec.terminal and spec.interactive and not spec.detach and not os.isatty(0):
        raise UsageError(
            "-t with -i needs a terminal as standard input, and it is none",
            evidence="standard input is a pipe, a file or closed",
            remedy="leave out -t",
        )
    if arguments.engine not in ("", "native"):
        from sampan.cli.run_elsewhere import run_elsewhere

        run_elsewhere(arguments, spec)
    from sampan.engines.prepare import prepare

    trace.mark("imports")
    prepared = with_image(
        lambda: prepare(spec),
        spec.image,
        policy=arguments.pull,
        platform=spec.platform,
        gpus=spec.gpus,
        variables=dict(spec.environment),
        roots=(spec.driver_root, spec.dev_root),
        settings=lambda: registry_settings(arguments),
    )
    for text in prepared.warnings:
        print_warning(text)
    sys.stderr.flush()
    sys.stdout.flush()
    if spec.detach:
        from sampan.engines.native.detach import run_detached

        run_detached(prepared)
        print(prepared.record.id)
        return 0
    from sampan.engines.native.foreground import run_in_foreground

    code = run_in_foreground(prepared)
    if trace.is_enabled():
        print(trace.render_table(), file=sys.stderr)
    return code
