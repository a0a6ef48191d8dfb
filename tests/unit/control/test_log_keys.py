"""Keys below `logging.`: what is set has services log so; what is no value is refused, and names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rondo.config import NodeConfig
from rondo.config.node import SUBSYSTEMS
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.control.cmap.values import Type
from tests.unit.control.test_reload import Files, text_of
from tests.unit.control.world import Host

LOGGING = "logging {\n to_stderr: yes\n logger_subsys {\n  subsys: CPG\n  debug: on\n  syslog_priority: err\n }\n}\n"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    world = Files(tmp_path, 1)
    world.write(text_of(1, more=LOGGING))
    world.hosts[1].boot()
    world.form(1)
    return world.hosts[1]


def _set(host: Host, key: str, value: Any, kind: Type = Type.STR) -> tuple[Code, Any]:
    return host.ask(Op.SET, key=key, type=int(kind), value=value)


def _keys(host: Host) -> dict[str, Any]:
    return {key: value for key, _, value in host.ask(Op.KEYS, prefix="logging.")[1]}


def _others(host: Host) -> dict[str, Any]:
    return {key: value for key, value in host.machine.core.keys.items() if not key.startswith("logging.")}


def _told(host: Host) -> NodeConfig:
    """The configuration that the other services are told."""
    adopted = host.machine.core.adopted
    assert adopted is not None
    return NodeConfig.from_msgpack(adopted)


def test_a_general_setting_is_everybody_s_who_has_none_of_his_own(host: Host) -> None:
    assert _set(host, "logging.debug", "trace") == (Code.OK, None)
    assert _set(host, "logging.syslog_priority", "crit") == (Code.OK, None)
    config = _told(host)
    assert (config.log_settings("totem").debug, config.log_settings("totem").syslog_priority) == ("trace", "crit")
    assert (config.log_settings("cpg").debug, config.log_settings("cpg").syslog_priority) == ("on", "err")
    assert _set(host, "logging.timestamp", "off") == (Code.OK, None)
    assert _told(host).log_settings("cpg").timestamp == "off"


def test_a_subsystem_gets_a_setting_of_its_own_and_loses_it(host: Host) -> None:
    key = "logging.logger_subsys.TOTEM.debug"
    assert _set(host, key, "on") == (Code.OK, None)
    assert _told(host).log_settings("totem").debug == "on"
    assert _told(host).log_settings("sam").debug == "off"
    assert _keys(host)[key] == "on"
    assert _keys(host)["logging.logger_subsys.TOTEM.subsys"] == "TOTEM"
    assert "logging.logger_subsys.TOTEM.to_stderr" not in _keys(host)
    assert host.ask(Op.DELETE, key=key) == (Code.OK, None)
    assert host.ask(Op.DELETE, key=key)[0] == Code.NOT_EXIST
    assert _told(host).log_settings("totem").debug == "off"
    assert host.ask(Op.DELETE, key="logging.logger_subsys.CPG.subsys") == (Code.OK, None)
    assert _told(host).log_settings("cpg").debug == "off"
    assert [each for each in _keys(host) if ".CPG." in each] == []


def test_a_general_setting_that_is_deleted_is_the_default(host: Host) -> None:
    assert _set(host, "logging.to_stderr", "Off") == (Code.OK, None)
    assert (_told(host).logging[""].to_stderr, _keys(host)["logging.to_stderr"]) == (False, "no")
    assert host.ask(Op.DELETE, key="logging.to_stderr") == (Code.OK, None)
    assert (_told(host).logging[""].to_stderr, _keys(host)["logging.to_stderr"]) == (True, "yes")


@pytest.mark.parametrize(
    ("key", "value", "kind", "code", "text"),
    [
        ("logging.debug", "loud", Type.STR, Code.INVALID_PARAM, "one of off, on, trace; not 'loud'"),
        ("logging.debug", 1, Type.U8, Code.INVALID_PARAM, "is a str"),
        ("logging.to_syslog", "perhaps", Type.STR, Code.INVALID_PARAM, "one of yes, on, no, off"),
        ("logging.syslog_facility", "post", Type.STR, Code.INVALID_PARAM, "one of daemon, local0"),
        ("logging.to_logfile", "yes", Type.STR, Code.INVALID_PARAM, "there is no log file"),
        ("logging.logger_subsys.CPG.to_logfile", "yes", Type.STR, Code.INVALID_PARAM, "there is no log file"),
        ("logging.logger_subsys.MAIN.debug", "on", Type.STR, Code.INVALID_PARAM, f"there are {' '.join(SUBSYSTEMS)}"),
        ("logging.logger_subsys.CPG.subsys", "SAM", Type.STR, Code.INVALID_PARAM, "can be CPG only"),
        ("logging.logger_subsys.CPG.timestamp", "on", Type.STR, Code.NOT_SUPPORTED, "set logging.timestamp"),
        ("logging.logfile", "/etc/passwd", Type.STR, Code.NOT_SUPPORTED, "has no effect in Rondo"),
        ("logging.logger_subsys.CPG.logfile", "/etc/passwd", Type.STR, Code.NOT_SUPPORTED, "has no effect in Rondo"),
        ("logging.blackbox", "on", Type.STR, Code.NOT_SUPPORTED, "has no effect in Rondo"),
    ],
)
def test_what_is_no_value_is_refused_by_name_and_changes_nothing(
    host: Host, key: str, value: Any, kind: Type, code: Code, text: str
) -> None:
    before = _keys(host)
    answer = _set(host, key, value, kind)
    assert answer[0] == code
    assert key in answer[1]
    assert text in answer[1]
    assert _keys(host) == before
    assert host.machine.core.adopted is None


def test_a_new_control_knows_it_before_the_others_are_told(host: Host) -> None:
    assert _set(host, "logging.debug", "on") == (Code.OK, None)
    adopted = host.machine.core.adopted
    assert adopted is not None
    host.start()
    assert host.machine.core.adopted == adopted
    assert _keys(host)["logging.debug"] == "on"
    assert _set(host, "logging.logger_subsys.SAM.debug", "off") == (Code.OK, None)
    assert (_told(host).log_settings("totem").debug, _told(host).log_settings("sam").debug) == ("on", "off")


def test_nothing_else_of_the_configuration_changes(host: Host) -> None:
    host.ask(Op.SET, key="my.key", type=int(Type.U8), value=1)
    before = _others(host)
    running = NodeConfig.from_msgpack(host.machine.core.setup.packed)
    _set(host, "logging.debug", "on")
    assert _others(host) == before
    changed = _told(host).to_dict()
    assert changed.pop("logging") != running.to_dict()["logging"]
    assert changed == {name: value for name, value in running.to_dict().items() if name != "logging"}
