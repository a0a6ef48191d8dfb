"""The Debian package of `make deb`: clean by lintian; installed, started, stopped and removed in a fresh Debian.

The system is made by debootstrap, with the packages that this machine's apt can have. What is installed there is tried
with chroot, in namespaces of its own: the node runs on a loopback that nobody else sees. systemd is there for its unit
files, and does not run. Debian's corosync is there as well: Pacemaker's package needs it, and a cluster may change from
one to the other node by node.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import rondo
from tests.documents import typed

ROOT = Path(__file__).parents[2]
DEBS = sorted((ROOT / "build" / "dist").glob("rondo_*.deb"))
PACKAGES = "python3,adduser,systemd,corosync"
BOOTSTRAP_S = 1500
COMMAND_S = 300
INSIDE = """
set -e
ip link set lo up
mount -t proc proc "$1/proc"
exec chroot "$1" /bin/sh -c "$2"
"""
RUNNING = ("totem", "cpg", "control", "ipc_gateway", "sam")

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(name="deb", scope="module")
def _deb() -> Path:
    assert len(DEBS) == 1, "make deb"
    return DEBS[0]


@pytest.fixture(name="system", scope="module")
def _system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A minimal Debian of this machine's release, or a copy of the one that RONDO_DEBIAN_ROOT names."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("needs root and debootstrap")
    root = tmp_path_factory.mktemp("debian") / "root"
    if given := os.environ.get("RONDO_DEBIAN_ROOT"):
        subprocess.run(["cp", "-a", given, root], check=True, timeout=COMMAND_S)
    else:
        told = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)"], capture_output=True, text=True, check=True
        )
        site, release = told.stdout.splitlines()[0].split()
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, str(root), site]
        subprocess.run(command, check=True, timeout=BOOTSTRAP_S, capture_output=True)
    yield root
    shutil.rmtree(root)


def inside(system: Path, command: str, *, check: bool = True) -> str:
    """Run a shell command in the system; what it prints."""
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            INSIDE,
            "sh",
            str(system),
            command,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_S,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_lintian_finds_no_error(deb: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", str(deb)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_holds_unit_man_pages_and_completion(deb: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "--contents", deb], capture_output=True, text=True, check=True).stdout
    names = {line.split()[5].removeprefix("./") for line in listed.splitlines()}
    assert {
        "usr/bin/rondo",
        "lib/systemd/system/rondo.service",
        "etc/default/rondo",
        "etc/corosync/",
        "usr/share/man/man1/rondo.1.gz",
        "usr/share/man/man1/rondo-sam.1.gz",
        "usr/share/bash-completion/completions/rondo",
        "usr/share/fish/vendor_completions.d/rondo.fish",
        "usr/share/zsh/vendor-completions/_rondo",
    } <= names
    assert all(line.split()[1] == "root/root" for line in listed.splitlines())


def test_it_is_made_by_debhelper_for_the_libraries_that_it_uses(deb: Path) -> None:
    fields = {
        name: subprocess.run(["dpkg-deb", "--field", deb, name], capture_output=True, text=True, check=True).stdout
        for name in ("Version", "Depends", "Conflicts")
    }
    assert fields["Version"] == f"{rondo.__version__}\n"
    needed = {entry.split()[0] for entry in fields["Depends"].split(",")}
    assert needed == {"adduser", "libc6", "libgcc-s1", "libstdc++6", "python3"}
    assert not fields["Conflicts"].strip(), "Pacemaker's package needs that of Corosync"
    script = subprocess.run(["dpkg-deb", "--info", deb, "postinst"], capture_output=True, text=True, check=True).stdout
    assert "# Automatically added by dh_installsystemd" in script


def test_it_is_installed_started_and_removed(deb: Path, system: Path) -> None:
    shutil.copy(deb, system / "rondo.deb")
    inside(system, "dpkg --install /rondo.deb")
    assert inside(system, "getent passwd rondo").split(":")[5:] == ["/var/lib/rondo", "/usr/sbin/nologin\n"]
    unit = (system / "lib/systemd/system/rondo.service").read_text()
    assert "\nExecStart=/usr/bin/rondo start --foreground\n" in unit
    assert inside(system, "systemctl is-enabled rondo", check=False) == "disabled\n", "nothing starts by itself"
    script = (
        "install -d -o rondo -g rondo /run/rondo /var/lib/rondo && "
        "export RONDO_RUN_DIR=/run/rondo RONDO_STATE_DIR=/var/lib/rondo && "
        "export COROSYNC_MAIN_CONFIG_FILE=/usr/share/doc/rondo/examples/corosync.conf && "
        "export COROSYNC_TOTEM_AUTHKEY_FILE=/var/lib/rondo/authkey && "
        "as='setpriv --reuid=rondo --regid=rondo --clear-groups' && "
        "$as rondo keygen --key-file /var/lib/rondo/authkey >&2 && "
        "$as rondo start >&2 && $as rondo status --json && $as rondo stop >&2"
    )
    services = json.loads(inside(system, script))["services"]
    assert {name: (services[name]["state"], services[name]["code"]) for name in RUNNING} == dict.fromkeys(
        RUNNING, ("running", "compiled")
    )


def which_unit(entry: tuple[str, str]) -> str:
    """Of a block of docs/OPERATING.md what says which unit is in force. Nothing can be started without systemd."""
    lines = [line for line in typed.block(entry).text.splitlines() if line.startswith("systemctl ") and "able" in line]
    assert len(lines) == 2
    return " && ".join(line.partition("#")[0].replace(" --now", "") for line in lines)


def test_enabled_it_is_corosyncs_unit_until_it_is_disabled_or_removed(deb: Path, system: Path) -> None:
    """As docs/OPERATING.md says, "From a running cluster to Rondo"."""
    shutil.copy(deb, system / "rondo.deb")
    alias = "readlink /etc/systemd/system/corosync.service"
    inside(system, "dpkg --install /rondo.deb")
    there, back = (which_unit(entry) for entry in typed.WITH_SYSTEMD)
    inside(system, there)
    assert inside(system, alias) == "/lib/systemd/system/rondo.service\n"
    inside(system, back)
    assert inside(system, alias, check=False) == ""
    assert inside(system, "systemctl is-enabled corosync") == "enabled\n"
    inside(system, f"{there} && dpkg --install /rondo.deb")
    assert inside(system, alias) == "/lib/systemd/system/rondo.service\n", "an upgrade leaves it"
    inside(system, "dpkg --remove rondo")
    assert inside(system, alias, check=False) == "", "Corosync's own would be hidden"
    assert not (system / "usr/bin/rondo").exists()
    assert not (system / "usr/lib/rondo").exists()
    assert (system / "etc/default/rondo").exists()
    inside(system, "dpkg --purge rondo")
    assert not (system / "var/lib/rondo").exists()
    assert not (system / "etc/default/rondo").exists()
    assert (system / "etc/corosync").is_dir(), "it is Corosync's, too"
