"""With RONDO_WHEEL=compiled in the environment the wheel also holds the hot modules as machine code; see `make wheels`.

Such a wheel is for the one version of Python that built it. Source and machine code lie beside each other, with the
digest that ties them (rondo.node.compiled).
"""

import os
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
IS_COMPILED = os.environ.get("RONDO_WHEEL") == "compiled"

if IS_COMPILED:
    # Builds run without the directory of this file in the search path.
    sys.path.insert(0, str(ROOT))


class BuildWithMachineCode(build_py):
    """Adds the machine code beside the source."""

    def run(self) -> None:
        super().run()
        if not IS_COMPILED or self.editable_mode:
            return
        from rondo.node.compile import put

        put(ROOT, Path(self.build_lib), made_before=ROOT / "build" / "compiled")


class WheelDistribution(Distribution):
    """Says that it is for one Python and one kind of machine, where it is."""

    def has_ext_modules(self) -> bool:
        return IS_COMPILED


setup(distclass=WheelDistribution, cmdclass={"build_py": BuildWithMachineCode})
