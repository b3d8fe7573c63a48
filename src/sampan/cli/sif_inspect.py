"""``sampan sif inspect``: what a SIF file says of itself, with the options of ``apptainer inspect``."""

import argparse

from sampan.cli.flags import add_flag

_PARTS = {
    "labels": ("-l", "the labels (default)"),
    "deffile": ("-d", "the definition file that it was made from"),
    "environment": ("-e", "the scripts that set variables"),
    "runscript": ("-r", "what runs it"),
    "startscript": ("-s", "what starts it as an instance"),
    "test": ("-t", "its test"),
    "helpfile": ("-H", "its help"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif inspect [OPTIONS] FILE"
    for name, (short, text) in _PARTS.items():
        add_flag(parser.add_argument, f"--{name}", short, help=text)
    add_flag(parser.add_argument, "--json", "-j", help="as JSON")
    add_flag(parser.add_argument, "--all", help="everything, as JSON")
    parser.add_argument("file", metavar="FILE", help="a SIF file")


def main(arguments: argparse.Namespace) -> int:
    """Print what is asked for."""
    import json

    from sampan.images.sif import open_sif
    from sampan.images.sif_inspect import describe_sif, render_inspection

    wanted = {name for name in _PARTS if arguments.all or getattr(arguments, name)} or {"labels"}
    description = describe_sif(open_sif(arguments.file))
    if arguments.all or arguments.json:
        print(json.dumps(render_inspection(description, wanted), indent=1, sort_keys=True))
        return 0
    if "labels" in wanted:
        for name, value in sorted(description.labels.items()):
            print(_clean(f"{name}: {value}"))
    if "deffile" in wanted:
        print(_clean(description.definition.rstrip("\n")))
    if "environment" in wanted:
        for path, text in sorted(description.environment.items()):
            print(_clean(f"=== {path} ===\n{text.rstrip()}\n"))
    for name in ("runscript", "startscript", "test", "helpfile"):
        if name in wanted and name in description.scripts:
            print(_clean(description.scripts[name].rstrip("\n")))
    return 0


def _clean(text: str) -> str:
    """The text without orders to a terminal; scripts keep their tabs."""
    from sampan.cli.render import printable

    return "\t".join(map(printable, text.split("\t")))
