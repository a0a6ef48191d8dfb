"""Which services are started at all."""

from pathlib import Path

import pytest

from rondo.config import NodeConfig, load, resolve
from rondo.node.supervision import C_PROGRAMS, optional

CONFIGURATION = """\
totem {
  version: 2
  transport: udpu
  secauth: off
}
nodelist {
  node {
    nodeid: 1
    ring0_addr: 127.0.0.1
  }
}
system {
  qb_ipc: no
}
"""


def configured(directory: Path, more: str = "") -> NodeConfig:
    (directory / "corosync.conf").write_text(CONFIGURATION + more)
    return resolve(load(directory / "corosync.conf"), state_dir=directory)


def test_what_nobody_has_asked_for_is_off_without_a_reason(tmp_path: Path) -> None:
    assert optional.off(configured(tmp_path)) == {C_PROGRAMS: "system.qb_ipc is no", "web": "", "notify": ""}


def test_an_empty_section_is_enough(tmp_path: Path) -> None:
    config = configured(tmp_path, "web {\n}\n")
    assert (config.web.enabled, config.web.address, config.web.port) == (True, "127.0.0.1", 5480)
    assert optional.off(config) == {C_PROGRAMS: "system.qb_ipc is no", "notify": ""}
    told = configured(tmp_path, "notify {\n  command: /bin/true\n}\n")
    assert optional.off(told) == {C_PROGRAMS: "system.qb_ipc is no", "web": ""}


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "WEB_PACKAGES", ("starlette", "no_such_package"))
    config = configured(tmp_path, "web {\n}\n")
    assert optional.off(config)["web"] == "the package no_such_package is missing; pip install 'rondo[web]'"
