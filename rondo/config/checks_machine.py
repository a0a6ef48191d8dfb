"""Checks what a configuration needs and this machine lacks: log directories, syslog, keys, a unique address.

These are warnings, because a file may be checked on another machine, or before the rest is prepared. `rondo start`
prints them too, before anything fails.
"""

import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from rondo.config import derive, interfaces, key
from rondo.config.checks_shown import check_shown_files
from rondo.config.faults import Fault
from rondo.config.loaded import Loaded, OptionPath
from rondo.config.node import NodeConfig

SYSLOG_SOCKET = "/dev/log"


def check_machine(
    loaded: Loaded, node: NodeConfig, addresses: list[interfaces.InterfaceAddress] | None = None
) -> list[Fault]:
    """What will fail, or stay without a log, on this machine. `addresses`: those of its interfaces, if known."""
    own = interfaces.interface_addresses() if addresses is None else addresses
    found = [*_log_files(loaded, node), *_syslog(loaded, node), *_keys(loaded, node), *_several(loaded, node, own)]
    return [*found, *check_shown_files(loaded, node)]


def _log_files(loaded: Loaded, node: NodeConfig) -> Iterator[Fault]:
    seen: set[str] = set()
    for name, settings in node.logging.items():
        if not settings.to_logfile or settings.logfile in seen:
            continue
        seen.add(settings.logfile)
        if lack := _why_not_written(Path(settings.logfile)):
            yield loaded.fault("warning", _where(loaded, name, "logfile"), f"{settings.logfile}: {lack[0]}", lack[1])


def _why_not_written(file: Path) -> tuple[str, str] | None:
    """Why no log can be written there, and the remedy; None if it can."""
    directory = file.parent
    if file.is_dir():
        return "is a directory", "name a file in it"
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        return f"its directory {what}, the start will fail", f"mkdir -p {directory}"
    if not os.access(file if file.exists() else directory, os.W_OK):
        return "is not writable for this user", "change its owner, or name another file"
    return None


def _where(loaded: Loaded, subsystem: str, option: str) -> OptionPath:
    """The place of the option that applies to a subsystem; "" means all of them."""
    for index, each in enumerate(loaded.config.logging.logger_subsys):
        path = ("logging", "logger_subsys", index, option)
        if each.subsys.upper() == subsystem and loaded.given(*path):
            return path
    return "logging", option


def _syslog(loaded: Loaded, node: NodeConfig) -> Iterator[Fault]:
    """In a container nobody may receive what is sent to syslog."""
    wanting = {name: settings for name, settings in node.logging.items() if settings.to_syslog}
    if not wanting or syslog_listens():
        return
    name = next(iter(wanting))
    why = f"nothing listens on {SYSLOG_SOCKET}"
    if any(settings.is_syslog_alone for settings in wanting.values()):
        why += "; standard error is used, whose lines `rondo logs` shows"
    yield loaded.fault("warning", _where(loaded, name, "to_syslog"), why, "start a syslog, or write to_logfile: yes")


def syslog_listens() -> bool:
    """True if somebody receives messages at the socket of syslog."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC) as probe:
            try:
                probe.connect(SYSLOG_SOCKET)
            except OSError:
                continue
            return True
    return False


def _keys(loaded: Loaded, node: NodeConfig) -> Iterator[Fault]:
    security = node.security
    if security.enabled and security.key_file and not security.key_created_if_missing:
        try:
            key.read_key(Path(security.key_file))
        except key.KeyFileError as error:
            yield loaded.fault("warning", ("totem", "keyfile"), f"{error.path}: {error.why}", error.mend)
    if node.remote.enabled:
        for option, path in (("keyfile", node.remote.key_file), ("clients", node.remote.clients_file)):
            try:
                regular = stat.S_ISREG(os.stat(path).st_mode)
            except OSError as error:
                yield loaded.fault(
                    "warning", ("remote", option), f"{path}: {error.strerror}", "make it, see SECURITY.md"
                )
            else:
                if not regular:
                    yield loaded.fault("warning", ("remote", option), f"{path}: is no regular file", "name a file")


def _several(loaded: Loaded, node: NodeConfig, own: list[interfaces.InterfaceAddress]) -> Iterator[Fault]:
    """bindnetaddr may name a network in which this machine has several addresses."""
    index, interface = derive.link(loaded.config)
    if not node.bindnetaddr or node.bindnetaddr == interface.bindnetaddr:
        return
    wanted = ipaddress.ip_address(interface.bindnetaddr)
    found = [str(each.address) for each in own if wanted in each.network and each.network.prefixlen > 0]
    if len(found) > 1:
        why = f"this machine has {len(found)} addresses in that network; {node.bindnetaddr} is taken"
        mend = f"write the address that is meant: {', '.join(found[:8])}"
        yield loaded.fault("warning", ("totem", "interface", index, "bindnetaddr"), why, mend)
