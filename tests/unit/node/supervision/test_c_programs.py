"""Whether a node serves C programs, and the reason if it does not."""

import os
import socket
from dataclasses import replace

import pytest

from rondo.config import NodeConfig, load, resolve
from rondo.node.c_sockets import address_of
from rondo.node.supervision import c_programs


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> NodeConfig:
    """Of a single node; the name that is looked for is nobody else's."""
    directory = tmp_path_factory.mktemp("state")
    monkeypatch.setattr(c_programs, "NAME", f"rondo-test-{os.getpid()}")
    monkeypatch.setattr(c_programs, "LIBRARY", "libc.so.6")
    monkeypatch.setattr(c_programs, "MACHINE", os.uname().machine)
    path = directory / "corosync.conf"
    path.write_text(
        "totem {\n  version: 2\n  transport: udpu\n  secauth: off\n}\n"
        "nodelist {\n  node {\n    nodeid: 1\n    ring0_addr: 127.0.0.1\n  }\n}\n"
    )
    return resolve(load(path), state_dir=directory)


def taken() -> socket.socket:
    name = socket.socket(socket.AF_UNIX)
    name.bind(address_of(c_programs.NAME))
    return name


def test_auto_means_yes_where_the_library_is_and_the_name_is_free(config: NodeConfig) -> None:
    assert config.qb_ipc == "auto"
    assert c_programs.why_off(config) == ""
    assert c_programs.why_off(config) == "", "to look does not take the name"


def test_auto_means_no_where_somebody_has_the_name(config: NodeConfig) -> None:
    with taken():
        assert "serves C programs" in c_programs.why_off(config)
        assert c_programs.why_off(replace(config, qb_ipc="yes")) == ""
        assert c_programs.why_off(config, is_handed=True) == "", "that is this node itself"


def test_auto_means_no_without_the_library(config: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_programs, "LIBRARY", "libof-nobody.so.1")
    assert "libof-nobody.so.1 is not installed" in c_programs.why_off(config)


def test_auto_means_no_on_a_machine_where_it_was_never_tried(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_programs, "MACHINE", "pdp11")
    assert os.uname().machine in c_programs.why_off(config)


def test_no_means_no(config: NodeConfig) -> None:
    assert c_programs.why_off(replace(config, qb_ipc="no")) == "system.qb_ipc is no"
