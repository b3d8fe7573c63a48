"""``sampan sif add``: an object into a SIF file, with the options of ``apptainer sif add``."""

import argparse

_KINDS = (
    "1 definition, 2 variables, 3 labels, 4 partition, 6 JSON, 7 anything, 8 cryptographic message, "
    "9 SBOM, 10 OCI index, 11 OCI blob"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif add --datatype N [OPTIONS] FILE OBJECT"
    add = parser.add_argument
    add("--datatype", metavar="N", type=int, required=True, choices=range(1, 12), help=_KINDS)
    add("--filename", metavar="NAME", help="the object's name; that of the file by default")
    add("--groupid", metavar="N", type=int, default=0, help="its group; 0 = none (default)")
    add("--link", metavar="N", type=int, default=0, help="number of the object that it is about")
    add("--alignment", metavar="N", type=int, default=0, help="its offset is a multiple of this")
    add("--partfs", metavar="N", type=int, default=0, help="of a partition: 1 squashfs, 2 ext3, 3 archive, 4 raw")  # fmt: skip
    add("--parttype", metavar="N", type=int, default=0, help="1 system, 2 the root file system, 3 data, 4 overlay")  # fmt: skip
    add("--partarch", metavar="ARCH", default="", help="amd64, arm64, ...; or SIF's number")
    add("--sbomformat", metavar="WORD", default="", help="of an SBOM: spdx-json, cyclonedx-json, ...")  # fmt: skip
    add("file", metavar="FILE", help="a SIF file, which is changed")
    add("object", metavar="OBJECT", help="the file whose bytes are added")


def main(arguments: argparse.Namespace) -> int:
    """Add it and print its number."""
    import os
    import time

    from sampan.images.sif_edit import add_file
    from sampan.images.sif_objects import describe_new_object

    name = arguments.filename
    new = describe_new_object(
        arguments.datatype,
        name=os.path.basename(arguments.object) if name is None else name,
        group=arguments.groupid,
        link=arguments.link,
        alignment=arguments.alignment,
        file_system=arguments.partfs,
        partition=arguments.parttype,
        architecture=arguments.partarch,
        sbom_format=arguments.sbomformat,
    )
    print(add_file(arguments.file, new, arguments.object, now=int(time.time())))
    return 0
