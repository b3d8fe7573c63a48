"""``sampan rmi``: take names away, and images with their last one."""

import argparse
import os


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan rmi [OPTIONS] IMAGE..."
    parser.add_argument(
        "--force",
        "-f",
        action="store_true",
        help="also when a running container uses the image, or an id has several names",
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a name, or an id for all names")


def main(arguments: argparse.Namespace) -> int:
    """Remove each; go on after a failure and say it in the exit code, as docker does."""
    from sampan.cli.image_use import images_in_use
    from sampan.cli.render import print_error
    from sampan.errors import SampanError
    from sampan.images.catalogue import remove_image
    from sampan.images.store_layout import locate_store

    store = locate_store(os.environ)
    containers = images_in_use()
    code = 0
    for name in arguments.images:
        try:
            done = remove_image(store, name, containers=containers, force=arguments.force)
        except SampanError as error:
            print_error(error)
            code = 1
        else:
            print("\n".join(done))
    return code
