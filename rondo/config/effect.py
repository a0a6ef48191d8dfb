"""Removes options that have no effect beside the others: those of another transport, further rings, and so on.

They are removed before values are checked, each with a warning: an option without effect must not keep a node from
starting, however wrong it is. This works on the texts as read (nested dicts), because checked options are made from the
rest.
"""

from collections.abc import Callable, Iterable
from typing import Any

from rondo.config import derive
from rondo.config.loaded import OptionPath
from rondo.config.schema_node import SUBSYSTEMS_OF_COROSYNC, SUBSYSTEMS_OF_OLD
from rondo.config.schema_totem import ONE_LINK

Drop = Callable[[OptionPath, str, str], None]
"""Removes what is at a path, if anything is, and warns with the reason and the remedy."""

_MULTICAST = ("mcastaddr", "broadcast", "ttl")
_NUMBERS = ("linknumber", "ringnumber")
_NODELIST_WINS = "has no effect: the nodelist wins over it"


def drop_without_effect(raw: dict[str, Any], drop: Drop) -> None:
    """Remove from `raw` everything that has no effect."""
    totem = raw.get("totem", {})
    interfaces = totem.get("interface", [])
    nodes = raw.get("nodelist", {}).get("node", [])
    transport = totem.get("transport")
    if transport is None:
        names = derive.marks_of_knet([totem.keys()], [each.keys() for each in interfaces], [n.keys() for n in nodes])
        members = any(each.get("member") for each in interfaces)
        transport = "knet" if names else "udpu" if nodes or members else "udp"
    if transport in ("udp", "udpu"):
        _one_link(totem, interfaces, transport, drop)
    elif transport == "knet":
        drop(("totem", "rrp_mode"), "has no effect with transport: knet", "remove it")
        for index in range(len(interfaces)):
            for name in _MULTICAST:
                drop(("totem", "interface", index, name), "has no effect with transport: knet", "")
    if nodes:
        for index in range(len(interfaces)):
            for name in ("bindnetaddr", "member"):
                drop(("totem", "interface", index, name), _NODELIST_WINS, "remove it")
    _subsystems(raw.get("logging", {}).get("logger_subsys", []), drop)
    if "address" not in raw.get("remote", {}):
        for name in ("port", "keyfile", "clients"):
            why = "has no effect: without remote.address there are no remote clients"
            drop(("remote", name), why, "write the address to listen at, or remove this")


def _one_link(totem: dict[str, Any], interfaces: list[dict[str, Any]], transport: str, drop: Drop) -> None:
    """udp and udpu: only link 0, and no option of knet."""
    of_knet = f"has no effect with transport: {transport}"
    for name in _of_knet(totem):
        drop(("totem", name), of_knet, "")
    for index, interface in enumerate(interfaces):
        path: OptionPath = ("totem", "interface", index)
        if any(interface.get(name, "0").strip("0") for name in _NUMBERS):
            drop(path, f"has no effect: {ONE_LINK}", "")
            continue
        unused = _MULTICAST if transport == "udpu" else ()
        for name in (*unused, *_of_knet(interface)):
            drop((*path, name), of_knet, "")


def _of_knet(section: Iterable[str]) -> list[str]:
    return [name for name in section if derive.is_mark_of_knet(name) and name != "linknumber"]


def _subsystems(loggers: list[dict[str, Any]], drop: Drop) -> None:
    """Corosync's subsystems that Rondo lacks. Present ones are removed without a warning, since every file has some."""
    for index, logger in enumerate(loggers):
        name = str(logger.get("subsys", "")).upper()
        if name in SUBSYSTEMS_OF_OLD:
            drop(
                ("logging", "logger_subsys", index), f"has no effect: {name} was a part of Corosync 1 or 2", "remove it"
            )
        elif name in SUBSYSTEMS_OF_COROSYNC:
            drop(("logging", "logger_subsys", index), "", "")
