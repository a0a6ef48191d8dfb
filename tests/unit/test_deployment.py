"""docker-compose.yml, Dockerfile and the systemd unit: their form, and that they agree with the commands and files."""

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import rondo
from rondo.config import load
from rondo.config.node import SamSettings

ROOT = Path(__file__).parents[2]
NODES = ("node1", "node2", "node3")
CONFIGURATION = ROOT / "config" / "three-nodes-compose.conf"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file, anchors resolved."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def test_docker_takes_the_compose_file() -> None:
    docker = shutil.which("docker-compose")
    command = [docker] if docker else ["docker", "compose"]
    if not docker and (
        shutil.which("docker") is None
        or subprocess.run([*command, "version"], capture_output=True, check=False).returncode != 0
    ):
        pytest.skip("docker compose is not installed; the other tests look at the file's structure")
    subprocess.run([*command, "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"], check=True)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed; the other tests look at the unit's content")
    unit = tmp_path / "rondo.service"
    text = (ROOT / "config" / "rondo.service").read_text()
    # It is verified that the program is there.
    unit.write_text(text.replace("ExecStart=/usr/local/bin/rondo ", f"ExecStart={shutil.which('true')} "))
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert "rondo.service" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_the_nodes_are_those_of_their_configuration(compose: dict[str, Any]) -> None:
    services = compose["services"]
    addresses = {name: services[name]["networks"]["ring"]["ipv4_address"] for name in NODES}
    config = load(CONFIGURATION).config
    assert {node.name: node.ring0_addr for node in config.nodelist.node} == addresses
    assert config.totem.transport == "udpu"
    for name in NODES:
        assert services[name]["hostname"] == name, "a node finds itself by its host name"
        mounted = dict(volume.split(":")[:2] for volume in services[name]["volumes"])
        assert (ROOT / next(source for source, target in mounted.items() if target.endswith("corosync.conf"))).exists()
        assert mounted["key"] == str(Path(config.totem.keyfile).parent)


def test_every_node_has_a_health_check_and_no_privileges(compose: dict[str, Any]) -> None:
    for name in NODES:
        service = compose["services"][name]
        assert service["healthcheck"]["test"] == ["CMD", "rondo", "status", "--check"]
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert "privileged" not in service
        assert "cap_add" not in service
        assert service["depends_on"] == {"key": {"condition": "service_completed_successfully"}}


def test_all_volumes_and_networks_are_declared(compose: dict[str, Any]) -> None:
    used = {
        source
        for service in compose["services"].values()
        for source in (volume.split(":")[0] for volume in service["volumes"])
        if not source.startswith(".")
    }
    assert used == set(compose["volumes"])
    states = [compose["services"][name]["volumes"][-1] for name in NODES]
    assert len(set(states)) == len(NODES), "each node has a state of its own"


def instructions() -> dict[str, list[str]]:
    """The Dockerfile's instructions, by keyword."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            keyword, _, rest = line.partition(" ")
            found.setdefault(keyword, []).append(rest.strip())
    return found


def test_the_image_runs_unprivileged_and_installs_the_wheels() -> None:
    found = instructions()
    assert found["USER"] == ["rondo"]
    assert "status" in found["HEALTHCHECK"][0]
    assert found["COPY"] == ["build/image.txt build/dist/*.whl /made/", "--from=build /opt/rondo /opt/rondo"]
    # All that Docker is given to build with is what is copied.
    assert (ROOT / ".dockerignore").read_text().split() == ["*", "!build/image.txt", "!build/dist/*.whl"]


def test_a_base_image_that_is_named_by_its_digest_is_the_only_one(compose: dict[str, Any]) -> None:
    found = instructions()
    assert found["ARG"] == ["PYTHON_IMAGE=python:3.12-slim"]
    assert found["FROM"] == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    built = [service["build"] for service in compose["services"].values() if "build" in service]
    assert len(built) > len(NODES)
    assert all(each["args"] == {"PYTHON_IMAGE": "${PYTHON_IMAGE:-python:3.12-slim}"} for each in built)


def test_the_user_of_the_image_owns_what_compose_mounts(compose: dict[str, Any]) -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "--uid 10001" in text
    for name in NODES:
        for volume in compose["services"][name]["volumes"]:
            target = volume.split(":")[1]
            assert target.startswith("/etc/") or target in text
        assert any("uid=10001" in mount for mount in compose["services"][name]["tmpfs"])


def test_the_systemd_unit_starts_a_node_in_the_foreground() -> None:
    unit = configparser.RawConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # how configparser is told to keep the case
    unit.read(ROOT / "config" / "rondo.service")
    service = unit["Service"]
    assert shlex.split(service["ExecStart"])[1:] == ["start", "--foreground"]
    assert service["Type"] == "notify"
    assert service["User"] == "rondo"
    environment = dict(each.split("=") for each in shlex.split(service["Environment"]))
    assert environment["RONDO_RUN_DIR"] == f"/run/{service['RuntimeDirectory']}"
    assert environment["RONDO_STATE_DIR"] == f"/var/lib/{service['StateDirectory']}"


def test_a_container_is_bounded_and_has_room_for_what_a_node_writes(compose: dict[str, Any]) -> None:
    room = SamSettings().output_bytes_max + 5 * 2 * 8 * 1024 * 1024
    for name in NODES:
        service = compose["services"][name]
        assert service["pids_limit"] >= 256
        assert service["mem_limit"].endswith("g")
        assert service["ulimits"]["core"] == 0
        sizes = {mount.partition(":")[0]: mount.rpartition("size=")[2] for mount in service["tmpfs"]}
        assert set(sizes) == {"/run/rondo", "/tmp"}
        assert all(size.endswith("m") for size in sizes.values())
        assert int(sizes["/run/rondo"][:-1]) * 1024 * 1024 >= room


def test_the_systemd_unit_is_bounded_and_leaves_no_core() -> None:
    text = (ROOT / "config" / "rondo.service").read_text()
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert {"TasksMax", "MemoryMax", "LimitNOFILE"} <= settings.keys()
    assert settings["LimitCORE"] == "0"
    assert not {"ProtectSystem", "PrivateTmp", "ProtectHome"} & settings.keys(), (
        "SAM would be in a namespace of its own"
    )


def test_the_systemd_unit_is_corosyncs_for_those_who_require_it_and_has_a_sandbox() -> None:
    text = (ROOT / "config" / "rondo.service").read_text()
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert settings["Alias"] == "corosync.service"
    assert "Conflicts" not in settings, "it would conflict with itself"
    assert settings["CapabilityBoundingSet"] == settings["AmbientCapabilities"] == "CAP_SYS_NICE"
    assert settings["NoNewPrivileges"] == settings["RestrictSUIDSGID"] == settings["LockPersonality"] == "yes"
    assert {"@module", "@reboot", "@swap"} <= set(settings["SystemCallFilter"].removeprefix("~").split())


def test_the_debian_package_has_the_version_of_the_source() -> None:
    """The changelog is what debhelper takes the version from."""
    first = (ROOT / "packaging" / "debian" / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"rondo ({rondo.__version__}) ")
