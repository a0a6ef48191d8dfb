"""Keys below `logging.` that programs set while the node runs: their valid values, and the settings that follow.

As in Corosync, a subsystem's own settings override the general ones. Changing a general setting changes it for all
subsystems without a setting of their own. Deleting a key has the effect of leaving the option out. A key lasts until
the next reload or start, which read the file. The path of a log file cannot be set: a program that may set keys must
not choose which files the node's user writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_args

from rondo.config import LogSettings, NodeConfig
from rondo.config.node import SUBSYSTEMS, Debug, Facility, Priority, Timestamp
from services.control.cmap.values import CmapError, Refusal, Value

BELOW = "logging."
_SUBSYSTEMS_BELOW = "logging.logger_subsys."
_WORDS: dict[str, tuple[str, ...]] = {
    "debug": get_args(Debug),
    "timestamp": get_args(Timestamp),
    "logfile_priority": get_args(Priority),
    "syslog_priority": get_args(Priority),
    "syslog_facility": get_args(Facility),
}
_SWITCHES = ("to_stderr", "to_logfile", "to_syslog", "fileline", "function_name")
_GENERAL = ("timestamp", "fileline", "function_name")
"""Only general settings: no subsystem has its own."""
_ON, _OFF = ("yes", "on"), ("no", "off")
_DEFAULTS = {each.name: each.default for each in fields(LogSettings)}

Logging = Mapping[str, LogSettings]
"""The general settings under "", and those of the subsystems that have some of their own."""


def with_key(config: NodeConfig, key: str, value: Value | None) -> NodeConfig:
    """The configuration after this key below `logging.` was set, or deleted (None). Raises `CmapError`."""
    if key.startswith(_SUBSYSTEMS_BELOW):
        changed = _of_subsystem(config.logging, key, value)
    else:
        changed = _of_all(config.logging, key, value)
    for each in changed.values():
        if each.to_logfile and not each.logfile:
            why = f"{key}: there is no log file; write logfile: into logging{{}}, and have it read by `rondo reload`"
            raise CmapError(Refusal.INVALID_PARAM, why)
    return replace(config, logging=changed)


def _of_all(logging: Logging, key: str, value: Value | None) -> dict[str, LogSettings]:
    name = key.removeprefix(BELOW)
    new: Any = _DEFAULTS[_known(name, key)] if value is None else _parsed(name, key, value)
    return {
        subsystem: settings if name in settings.own else replace(settings, **{name: new})
        for subsystem, settings in logging.items()
    }


def _of_subsystem(logging: Logging, key: str, value: Value | None) -> dict[str, LogSettings]:
    subsystem, _, name = key.removeprefix(_SUBSYSTEMS_BELOW).partition(".")
    if subsystem not in SUBSYSTEMS:
        raise CmapError(Refusal.INVALID_PARAM, f"{key}: there is no such subsystem; there are {' '.join(SUBSYSTEMS)}")
    known = logging.get(subsystem)
    if value is None and (known is None or (name not in known.own and name != "subsys")):
        raise CmapError(Refusal.NOT_EXIST, f"there is no key {key}")
    general = logging[""]
    settings = known or general
    if name == "subsys":
        if value is None:
            return {each: settings for each, settings in logging.items() if each != subsystem}
        if value.value != subsystem:
            raise CmapError(Refusal.INVALID_PARAM, f"{key} can be {subsystem} only")
    elif name in _GENERAL:
        raise CmapError(Refusal.NOT_SUPPORTED, f"{key}: no subsystem has this of its own; set {BELOW}{name}")
    elif value is None:
        own = tuple(each for each in settings.own if each != name)
        settings = replace(settings, own=own, **{name: getattr(general, name)})
    else:
        new: Any = _parsed(name, key, value)
        settings = replace(settings, own=tuple(sorted({*settings.own, name})), **{name: new})
    return {**logging, subsystem: settings}


def _known(name: str, key: str) -> str:
    if name not in _WORDS and name not in _SWITCHES:
        raise CmapError(Refusal.NOT_SUPPORTED, f"{key} has no effect in Rondo")
    return name


def _parsed(name: str, key: str, value: Value) -> str | bool:
    words = _WORDS.get(_known(name, key), (*_ON, *_OFF))
    text = value.value.lower() if name in _SWITCHES and isinstance(value.value, str) else value.value
    if text not in words:  # nor is what is of another type
        raise CmapError(Refusal.INVALID_PARAM, f"{key} is a str, one of {', '.join(words)}; not {value.value!r:.60}")
    return text in _ON if name in _SWITCHES else str(text)
