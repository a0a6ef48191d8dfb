"""The wheels of `make wheels`: what they hold, and that what is installed from one runs compiled."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.demo.cluster import free_port
from rondo.node import compiled
from rondo.node.supervision.halt import kill
from tests.cluster.test_node import CONFIGURATION, NODE

ROOT = Path(__file__).parents[2]
WHEELS = sorted((ROOT / "build" / "dist").glob("*.whl"))
COMPILED = [wheel for wheel in WHEELS if wheel.name.count("-none-any") == 0]
COMMAND_S = 300
RUNNING = ("totem", "cpg", "control", "ipc_gateway", "sam")


def names_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def version_of(wheel: Path) -> str:
    """`cp311` of rondo-0.1.0-cp311-cp311-linux_x86_64.whl."""
    return wheel.name.split("-")[2]


def python_of(wheel: Path) -> str:
    """Of the environment that made it."""
    return str(ROOT / "build" / "wheels" / f"3.{version_of(wheel).removeprefix('cp3')}" / "bin" / "python")


def test_there_is_a_pure_wheel_and_one_for_this_python() -> None:
    assert [wheel.name for wheel in WHEELS if wheel not in COMPILED] == ["rondo-0.1.0-py3-none-any.whl"]
    assert f"cp3{sys.version_info.minor}" in map(version_of, COMPILED)


def test_all_hold_the_source_of_every_module() -> None:
    expected = {
        str(path.relative_to(ROOT)) for package in ("rondo", "services") for path in (ROOT / package).rglob("*.py")
    }
    for wheel in WHEELS:
        names = names_of(wheel)
        assert {name for name in names if name.endswith(".py")} == expected, wheel.name
        assert {"rondo/py.typed", "rondo/node/supervision/supervisord.conf"} <= names


def test_the_pure_one_holds_no_machine_code() -> None:
    (pure,) = set(WHEELS) - set(COMPILED)
    assert not [name for name in names_of(pure) if name.endswith(".so") or name == str(compiled.DIGEST)]


@pytest.mark.parametrize("wheel", COMPILED, ids=version_of)
def test_a_compiled_one_holds_all_hot_modules_for_its_python_alone(wheel: Path) -> None:
    suffix = f".cpython-{version_of(wheel).removeprefix('cp')}-{os.uname().machine}-linux-gnu.so"
    held = {name for name in names_of(wheel) if name.endswith(".so")}
    assert held == {str(compiled.path_of(name, suffix)) for name in (*compiled.sources(), compiled.LIBRARY)}


@pytest.mark.parametrize("wheel", COMPILED, ids=version_of)
def test_machine_code_is_of_exactly_the_source_beside_it(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path)
    assert compiled.is_of_its_source(tmp_path)


@pytest.mark.parametrize("wheel", COMPILED, ids=version_of)
def test_no_library_looks_into_directories_of_the_machine_that_made_it(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        libraries = [opened.extract(name, tmp_path) for name in opened.namelist() if name.endswith(".so")]
    done = subprocess.run(["readelf", "--dynamic", *libraries], capture_output=True, text=True, check=True)
    assert "(NEEDED)" in done.stdout
    assert "RUNPATH" not in done.stdout
    assert "RPATH" not in done.stdout


@pytest.fixture(name="installed", scope="module", params=COMPILED, ids=version_of)
def _installed(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A fresh virtual environment with the wheel and what it needs, in the versions of constraints.txt."""
    wheel: Path = request.param
    with tempfile.TemporaryDirectory(prefix="rondo-test-", dir="/tmp") as name:
        directory = Path(name)
        subprocess.run([python_of(wheel), "-m", "venv", directory / "venv"], check=True)
        pip = [str(directory / "venv" / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        needed = [*pip, "--require-hashes", "--no-deps", "-r", str(ROOT / "build" / "runtime.txt")]
        subprocess.run(needed, check=True, timeout=COMMAND_S)
        subprocess.run([*pip, "--no-deps", str(wheel)], check=True, timeout=COMMAND_S)
        yield directory
        kill(directory / "run")


def rondo(installed: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(installed / "venv" / "bin" / "rondo"), *arguments],
        capture_output=True,
        text=True,
        cwd=installed,
        env={**os.environ, "RONDO_RUN_DIR": str(installed / "run")},
        timeout=COMMAND_S,
        check=False,
    )


def codes(installed: Path) -> dict[str, str]:
    """What each service runs, by `rondo status`."""
    config = installed / "corosync.conf"
    config.write_text(CONFIGURATION.format(port=free_port(["127.0.0.1"]), nodes=NODE.format(1)))
    started = rondo(installed, "start", "-c", str(config), "--state-dir", str(installed / "state"))
    assert started.returncode == 0, started.stderr
    try:
        assert "\ncode: " in rondo(installed, "status").stdout
        services = json.loads(rondo(installed, "status", "--json").stdout)["services"]
    finally:
        assert rondo(installed, "stop").returncode == 0
    return {name: services[name]["code"] for name in RUNNING}


def test_what_a_compiled_wheel_installs_runs_compiled(installed: Path) -> None:
    assert codes(installed) == dict.fromkeys(RUNNING, "compiled")


def test_source_that_was_changed_after_the_installation_is_told(installed: Path) -> None:
    (changed,) = (installed / "venv" / "lib").glob("python3.*/site-packages/services/totem/ring/token.py")
    kept = changed.with_suffix(".kept")
    shutil.copy(changed, kept)
    try:
        with changed.open("a") as file:
            file.write("# A change.\n")
        assert codes(installed) == dict.fromkeys(RUNNING, compiled.COMPILED_OF_OTHER_SOURCE)
    finally:
        kept.replace(changed)
    assert f"Running {compiled.COMPILED_OF_OTHER_SOURCE}." in (installed / "run" / "log" / "totem.log").read_text()
