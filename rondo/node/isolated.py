"""Starts a module of this installation, isolated from the environment.

    python -I .../rondo/node/isolated.py -m services.totem ARGUMENTS...

An application may have a package `services` of its own, and PYTHONPATH may lead to it. The user's site directory or the
working directory may have one, too. `python -I` ignores all of these. The packages `rondo` and `services` are then
loaded from the directory that holds this file, whatever other packages have these names: neither the search path nor
another distribution decides. That directory is put last in the search path, for other packages installed beside it.

This file is run as a script before Rondo can be imported, so it imports nothing of Rondo.
"""

import importlib.util
import os
import runpy
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
"""The directory that holds `rondo` and `services`."""

PACKAGES = ("rondo", "services")


def load(name: str) -> None:
    """Import this package from `ROOT`. Raises ImportError if it is not there."""
    place = os.path.join(ROOT, name)
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(place, "__init__.py"), submodule_search_locations=[place]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is no package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def main() -> None:
    """`-m MODULE ARGUMENTS...` as Python itself takes them."""
    if len(sys.argv) < 3 or sys.argv[1] != "-m":
        sys.exit("usage: isolated.py -m MODULE ARGUMENTS...; Rondo starts its processes with it")
    for name in PACKAGES:
        try:
            load(name)
        except (ImportError, OSError) as error:
            sys.exit(f"{os.path.join(ROOT, name)} cannot be loaded ({error}); install Rondo anew")
    if ROOT not in sys.path:
        sys.path.append(ROOT)
    module = sys.argv[2]
    sys.argv[:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
