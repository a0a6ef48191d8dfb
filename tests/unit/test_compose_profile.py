"""The profile `watch` of docker-compose.yml: Prometheus beside the nodes, each of which has a page."""

from __future__ import annotations

import re
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rondo.config import load
from services.web.server import Options, check, read_token

ROOT = Path(__file__).parents[2]
NODES = ("node1", "node2", "node3")
SECRETS = ROOT / "packaging" / "compose" / "page_secrets.py"
WHERE = "/var/lib/rondo-key"
"""Where they are in the containers."""


@pytest.fixture(name="services", scope="module")
def _services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


@pytest.fixture(name="prometheus", scope="module")
def _prometheus() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "config" / "prometheus-compose.yml").read_text())
    return found


def made(directory: Path, *names: str) -> Path:
    """The secrets, as the container `key` makes them."""
    subprocess.run([sys.executable, SECRETS, directory, *names], check=True)
    return directory


def names_of(services: dict[str, Any]) -> list[str]:
    """What the container `key` has the certificate made for."""
    (line,) = [each for each in services["key"]["command"][0].splitlines() if "page_secrets" in each]
    return list(line.split()[3:])


def test_only_prometheus_waits_for_the_profile(services: dict[str, Any]) -> None:
    assert {name for name, each in services.items() if "profiles" in each} == {"prometheus"}
    assert services["prometheus"]["profiles"] == ["watch"]


def test_prometheus_has_no_privileges_and_is_bounded(services: dict[str, Any]) -> None:
    found = services["prometheus"]
    assert found["cap_drop"] == ["ALL"]
    assert found["read_only"] is True
    assert found["user"] == "10001:10001", "the user of the nodes, who owns the token"
    assert {"mem_limit", "pids_limit"} <= found.keys()
    assert all(port.startswith("127.0.0.1:") for port in found["ports"])
    assert all(volume.endswith(":ro") for volume in found["volumes"])
    assert not {"privileged", "cap_add"} & found.keys()


def test_every_node_is_asked_at_the_port_of_its_page(prometheus: dict[str, Any]) -> None:
    web = load(ROOT / "config" / "three-nodes-compose.conf").config.web
    (job,) = prometheus["scrape_configs"]
    assert job["scheme"] == "https"
    assert job["static_configs"] == [{"targets": [f"{name}:{web.port}" for name in NODES]}]
    assert set(NODES) <= set(web.names.split()), "else the page refuses the Host"
    assert (job["authorization"]["credentials_file"], job["tls_config"]["ca_file"]) == (web.token_file, web.tls_cert)


def test_the_page_takes_what_the_configuration_names(services: dict[str, Any], tmp_path: Path) -> None:
    made(tmp_path, *names_of(services))
    web = load(ROOT / "config" / "three-nodes-compose.conf").config.web
    token, certificate, key = (
        tmp_path / Path(each).relative_to(WHERE) for each in (web.token_file, web.tls_cert, web.tls_key)
    )
    options = Options(
        tmp_path, web.address, web.port, tuple(web.names.split()), read_token(token), str(certificate), str(key)
    )
    check(options)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_certificate_is_for_every_name_of_a_page(services: dict[str, Any]) -> None:
    web = load(ROOT / "config" / "three-nodes-compose.conf").config.web
    addresses = {services[name]["networks"]["ring"]["ipv4_address"] for name in NODES}
    assert set(names_of(services)) == set(web.names.split()) == {*NODES, *addresses}


def test_secrets_that_are_there_stay(tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in made(tmp_path, "a").iterdir()}
    assert before.keys() == {"web.token", "web.crt", "web.key"}
    assert {path.name: path.read_bytes() for path in made(tmp_path, "b").iterdir()} == before


def test_the_image_has_the_libraries_of_the_page(tmp_path: Path) -> None:
    part = re.search(r"^# part: dev$(.*?)^# part: ", (ROOT / "constraints.txt").read_text(), re.MULTILINE | re.DOTALL)
    assert part is not None
    (tmp_path / "dev.txt").write_text(part[1])

    def printed(*packages: str) -> set[str]:
        argv: list[str | Path] = [sys.executable, ROOT / "packaging" / "some_constraints.py", tmp_path / "dev.txt"]
        text = subprocess.run([*argv, *packages], check=True, capture_output=True, text=True).stdout
        return {line.partition("==")[0] for line in text.splitlines() if "==" in line}

    node = printed("rondo")
    assert {"cryptography", "cffi", "pydantic-core", "pyzmq"} <= node
    assert not {"mypy", "pytest", "ruff", "uvicorn"} & node
    assert printed("rondo[web]") - node >= {"prometheus-client", "starlette", "uvicorn", "h11", "anyio"}
    assert printed("rondo", "mypy", "setuptools") - node >= {"mypy", "mypy-extensions", "pathspec", "setuptools"}
    assert "some_constraints.py build/dev.txt 'rondo[web]' > build/image.txt" in (ROOT / "Makefile").read_text()


@pytest.mark.promtool
def test_promtool_takes_the_configuration(tmp_path: Path, prometheus: dict[str, Any]) -> None:
    """With its rules beside it, and the files that it names."""
    made(tmp_path, "node1")
    text = (ROOT / "config" / "prometheus-compose.yml").read_text().replace(WHERE, str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(text)
    for name in prometheus["rule_files"]:
        (tmp_path / name).write_bytes((ROOT / "config" / name).read_bytes())
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout
