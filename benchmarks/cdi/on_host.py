"""Runs `sampan cdi` with directories in the place of the host's root, procfs and sysfs.

    on_host.py ROOTS-AS-JSON SUBCOMMAND [OPTIONS]...
    on_host.py ROOTS-AS-JSON --profile      the steps of a generation, timed, as JSON

The product has no options for procfs and sysfs: nobody but a benchmark or test needs them.
"""

import json
import sys
import time

STARTED = time.perf_counter()


def main() -> int:
    roots = json.loads(sys.argv[1])
    if sys.argv[2] == "--profile":
        print(json.dumps(profile(roots)))
        return 0
    words = sys.argv[2:]
    if roots:
        from functools import partial

        import sampan.driver.cache as cache

        cache.current_inventory = partial(
            cache.current_inventory, proc_root=roots["proc"], sys_root=roots["sys"]
        )
        words += ["--driver-root", roots["driver"]]
    from sampan.cli.main import program

    sys.argv[1:] = ["cdi", *words]
    return program()


def profile(roots: dict[str, str]) -> dict[str, float]:
    """Milliseconds of each step."""
    steps: dict[str, float] = {}
    last = STARTED

    def done(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        steps[name] = (now - last) * 1e3
        last = time.perf_counter()

    import argparse

    done("import argparse, json")
    import sampan.cli.main

    done("import the command table")
    import sampan.cli.cdi_generate
    import sampan.cli.cdi_options

    done("import the command (engines, injection, model)")
    parser = argparse.ArgumentParser(allow_abbrev=False)
    sampan.cli.cdi_generate.configure(parser)
    arguments = parser.parse_args([])
    sampan.cli.cdi_options.complete_options(arguments, {})
    options = sampan.cli.cdi_generate.document_options(arguments)
    done("read the command line, look for a hook")
    from sampan.driver.cache import current_inventory

    done("import the inventory's cache")
    driver = roots.get("driver", "/")
    places = {"proc_root": roots["proc"], "sys_root": roots["sys"]} if roots else {}
    inventory = current_inventory(driver, driver, **places)
    done("inventory: read the cache, check the fingerprint")
    from sampan.engines.cdi import make_spec, render_spec

    generated = make_spec(inventory, options)
    done("plan and document")
    text = render_spec(generated.spec, as_json=False, fingerprint="0")
    done("YAML text")
    from pathlib import Path

    from sampan.driver.cdi_files import write_spec_file

    done("import pathlib")
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        last = time.perf_counter()
        target = Path(directory) / "nvidia.yaml"
        write_spec_file(str(target), text)
        done("write, sync, rename")
    return steps


if __name__ == "__main__":
    raise SystemExit(main())
