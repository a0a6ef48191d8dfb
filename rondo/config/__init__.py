"""A node's configuration: read corosync.conf (`load`), apply it to this machine (`resolve`), pass it on (`NodeConfig`).

    loaded = rondo.config.load()            # ConfigError says what is wrong, with file and line
    node = rondo.config.resolve(loaded)     # everything that a service needs, as plain values

Importing this package, and `NodeConfig`, does not import pydantic: a service gets a resolved configuration and does not
need it. `load` and `resolve` are imported at their first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from rondo.config.faults import ConfigError, Fault, Place
from rondo.config.node import LogSettings, NodeConfig, NodeConfigError, SecuritySettings

if TYPE_CHECKING:
    from rondo.config.loaded import Loaded
    from rondo.config.reader import load
    from rondo.config.resolver import resolve
    from rondo.config.schema_node import Config

__all__ = [
    "Config",
    "ConfigError",
    "Fault",
    "Loaded",
    "LogSettings",
    "NodeConfig",
    "NodeConfigError",
    "Place",
    "SecuritySettings",
    "load",
    "resolve",
]

_LOADED_WHEN_USED = {
    "Config": "rondo.config.schema_node",
    "Loaded": "rondo.config.loaded",
    "load": "rondo.config.reader",
    "resolve": "rondo.config.resolver",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module 'rondo.config' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LOADED_WHEN_USED[name]), name)
    globals()[name] = value
    return value
