"""An installation that is no source tree, beside an application with a package `services` of its own. Needs no root."""

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.demo.cluster import free_port
from rondo.node.installation import ROOT
from rondo.node.supervision.halt import kill
from tests.cluster.test_node import CONFIGURATION, NODE
from tests.documents.shell import clean_environment

COMMAND_S = 120


class Installed:
    """Rondo's packages in the site-packages of an environment of their own, as a wheel is unpacked, and one node."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory / "venv")], check=True)
        self.python = directory / "venv" / "bin" / "python"
        places = sysconfig.get_paths("venv", {"base": str(directory / "venv"), "platbase": str(directory / "venv")})
        self.packages = Path(places["purelib"])
        for name in ("rondo", "services"):
            leave_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, self.packages / name, ignore=leave_out)
        # What Rondo depends on is not installed twice.
        (self.packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
        self.config = directory / "corosync.conf"
        self.config.write_text(CONFIGURATION.format(port=free_port(["127.0.0.1"]), nodes=NODE.format(1)))
        self.run_dir = directory / "run"

    def rondo(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the directory of an application."""
        argv = [str(self.python), "-P", "-m", "rondo.cli.main", *arguments]
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            cwd=self.directory / "application",
            env=clean_environment(RONDO_RUN_DIR=str(self.run_dir)) | environment,
            timeout=COMMAND_S,
            check=False,
        )

    def start(self, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run `rondo start`."""
        return self.rondo("start", "-c", str(self.config), "--state-dir", str(self.directory / "state"), **environment)


@pytest.fixture
def installed() -> Iterator[Installed]:
    with tempfile.TemporaryDirectory(prefix="rondo-test-", dir="/tmp") as name:
        made = Installed(Path(name))
        # The application: its modules bear the names of Rondo's and of what Rondo needs, and none can be imported.
        for module in ("services", "services/totem", "services/sam", "supervisor", "zmq", "msgpack"):
            package = Path(name) / "application" / module
            package.mkdir(parents=True)
            (package / "__init__.py").write_text("raise SystemExit('the package of an application')\n")
        yield made
        kill(made.run_dir)


def test_an_application_with_services_of_its_own_comes_not_between(installed: Installed) -> None:
    for module in ("zmq", "msgpack", "supervisor"):  # the command itself looks into PYTHONPATH
        shutil.rmtree(installed.directory / "application" / module)
    started = installed.start(PYTHONPATH=str(installed.directory / "application"))
    assert started.returncode == 0, started.stderr
    assert started.stderr == ""
    ran = installed.rondo("sam", "run", "--", "sleep", "100")
    assert ran.returncode == 0, ran.stderr  # the keeper runs too
    assert installed.rondo("stop").returncode == 0


@pytest.mark.parametrize("is_package", [True, False], ids=["package", "directory"])
def test_an_application_keeps_its_own_services(installed: Installed, is_package: bool) -> None:
    """With and without `__init__.py`; also where a module is called like one of Rondo's services."""
    own = installed.directory / "keeper" / "services"
    own.mkdir(parents=True)
    for name in ("mail", "totem", *(["__init__"] if is_package else [])):
        (own / f"{name}.py").write_text("OWNER = 'application'\n")
    script = "import rondo, services.mail, services.totem; print(services.mail.OWNER, services.totem.OWNER)"
    ran = subprocess.run(
        [str(installed.python), "-c", script], capture_output=True, text=True, cwd=own.parent, check=False
    )
    assert (ran.stdout, ran.stderr) == ("application application\n", "")
    started = installed.start(PYTHONPATH=str(own.parent))
    assert (started.returncode, started.stderr) == (0, "")
    assert installed.rondo("stop").returncode == 0


def test_what_the_services_need_is_not_taken_from_the_directory_or_pythonpath(installed: Installed) -> None:
    # PYTHONPATH is handed on by a command that has not looked there.
    started = subprocess.run(
        [
            str(installed.python), "-I", "-m", "rondo.cli.main", "start", "-c", str(installed.config),
            "--run-dir", str(installed.run_dir), "--state-dir", str(installed.directory / "state"),
        ],
        capture_output=True,
        text=True,
        cwd=installed.directory / "application",
        env=os.environ | {"PYTHONPATH": str(installed.directory / "application")},
        timeout=COMMAND_S,
        check=False,
    )  # fmt: skip
    assert started.returncode == 0, started.stderr


def test_another_distribution_with_a_package_of_that_name_is_told_of(installed: Installed) -> None:
    (installed.packages / "services" / "billing.py").write_text("")
    metadata = installed.packages / "billing-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: billing\nVersion: 1.0\n")
    (metadata / "RECORD").write_text("services/billing.py,,\n")
    (metadata / "top_level.txt").write_text("services\n")
    started = installed.start()
    assert started.returncode == 0, started.stderr
    assert started.stderr.count("\n") == 1
    assert (
        f"{installed.packages}/services is shared with the distribution billing (it has billing.py)" in started.stderr
    )


def test_a_package_that_was_taken_away_is_told_of(installed: Installed) -> None:
    (installed.packages / "services" / "__init__.py").unlink()
    refused = installed.start()
    assert refused.returncode == 1
    assert f"{installed.packages}/services lacks __init__.py; install Rondo anew" in refused.stderr
