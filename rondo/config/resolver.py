"""From checked options to a node's configuration: derives values, finds the local node, looks up users."""

import ipaddress
import os
from dataclasses import asdict, replace
from typing import Any

from rondo import paths
from rondo.config import derive
from rondo.config.faults import ConfigError, Fault, quoted
from rondo.config.loaded import Loaded
from rondo.config.local_node import LocalNode, first_node, local_node, members_of, node_id_of
from rondo.config.machine import Machine, ThisMachine
from rondo.config.node import (
    KnetSettings,
    LogSettings,
    NodeConfig,
    NotifySettings,
    QuorumSettings,
    RemoteSettings,
    SamSettings,
    SecuritySettings,
    WebSettings,
)
from rondo.config.option import values_for
from rondo.config.schema_node import LoggerSubsys, Logging
from rondo.config.schema_totem import Interface

LOOPBACK = "127.0.0.1"
BROADCAST = "255.255.255.255"


def resolve(loaded: Loaded, machine: Machine | None = None, *, state_dir: paths.AnyPath | None = None) -> NodeConfig:
    """The configuration that this node runs with. Raises ConfigError if this machine is not in the configuration.

    Without a configuration file: a single node on loopback, number 1 unless another one was requested. state_dir: from
    the command line; it overrides the environment and the file.
    """
    machine = machine or ThisMachine()
    local = local_node(loaded, machine) if loaded.file else LocalNode(loaded.node_id or 1, LOOPBACK)
    return _resolve_as(loaded, local, machine, state_dir)


def resolve_as_first_node(loaded: Loaded, machine: Machine | None = None) -> NodeConfig:
    """The same as if this machine were the first node, to look at a configuration for other machines."""
    return _resolve_as(loaded, first_node(loaded), machine or ThisMachine(), None)


def _resolve_as(loaded: Loaded, local: LocalNode, machine: Machine, state_dir: paths.AnyPath | None) -> NodeConfig:
    """The options under their names in `NodeConfig`, and over them the values that follow from others or the
    machine."""
    config, interface = loaded.config, derive.link(loaded.config)[1]
    written = values_for(NodeConfig, config.totem, interface, config.system, config.cpg)
    state = _state_dir(loaded, state_dir)
    uids, gids = _allowed(loaded, machine)
    follows: dict[str, Any] = {
        "node_id": local.node_id,
        "node_name": local.name,
        "node_names": {node_id_of(loaded, node): node.name for node in config.nodelist.node if node.name},
        "config_file": loaded.file,
        "members": _members(loaded, local),
        **_network(loaded, local, interface),
        **asdict(derive.timers(config.totem, len(config.nodelist.node))),
        **asdict(derive.windows(config.totem)),
        "security": _security(loaded, state),
        "logging": _logging(loaded),
        "allowed_uids": uids,
        "allowed_gids": gids,
        "state_dir": state,
        "client_bytes_max": derive.client_bytes_max(config),
        "remote": _remote(loaded),
        "web": _web(loaded),
        "notify": NotifySettings(**values_for(NotifySettings, loaded.config.notify)),
        "sam": SamSettings(**values_for(SamSettings, config.sam)),
        "quorum": _quorum(loaded),
    }
    return NodeConfig(**(written | follows))


def _network(loaded: Loaded, local: LocalNode, interface: Interface) -> dict[str, Any]:
    """The transport and the options that depend on it."""
    config = loaded.config
    transport = derive.transport(config) if loaded.file else "udpu"
    return {
        "transport": transport,
        "local_address": local.address,
        # Exactly one address: several may be in the network, and the sockets must not choose again.
        "bindnetaddr": "" if config.nodelist.node or not interface.bindnetaddr else local.address,
        "mcastaddr": _group(loaded, local) if transport == "udp" else "",
        "broadcast": interface.broadcast and transport == "udp",
        "ip_version": derive.ip_version(config) if loaded.file else "ipv4",
        "knet": _knet(loaded) if transport == "knet" else KnetSettings(),
    }


def _quorum(loaded: Loaded) -> QuorumSettings:
    quorum = loaded.config.quorum
    follows: dict[str, Any] = {
        "enabled": quorum.provider is not None,
        "node_votes": {node_id_of(loaded, node): node.quorum_votes for node in loaded.config.nodelist.node},
        "wait_for_all": quorum.two_node if quorum.wait_for_all is None else quorum.wait_for_all,
    }
    return QuorumSettings(**(values_for(QuorumSettings, quorum) | follows))


def _members(loaded: Loaded, local: LocalNode) -> dict[int, tuple[str, ...]]:
    """Every listed node; nobody with multicast and no list."""
    if not loaded.file:
        return {local.node_id: (local.address,)}
    return {node_id: (address,) for node_id, address in sorted(members_of(loaded).items())}


def _knet(loaded: Loaded) -> KnetSettings:
    """The links, and each node's addresses on them."""
    totem, links = loaded.config.totem, derive.knet_links(loaded.config)
    addresses = {
        node_id_of(loaded, node): {
            number: address for number in links if (address := getattr(node, f"ring{number}_addr"))
        }
        for node in loaded.config.nodelist.node
    }
    return KnetSettings(
        links=links,
        addresses=dict(sorted(addresses.items())),
        mode=totem.link_mode,
        pmtud_interval_ms=totem.knet_pmtud_interval * 1000,
        mtu=totem.knet_mtu,
        compression=totem.knet_compression_model,
        compression_threshold=totem.knet_compression_threshold or 100,
        compression_level=totem.knet_compression_level,
    )


def _group(loaded: Loaded, local: LocalNode) -> str:
    """The destination of udp: as configured, or derived from the cluster's name in the address family of the nodes."""
    interface = derive.link(loaded.config)[1]
    if interface.broadcast:
        return BROADCAST
    if interface.mcastaddr:
        return interface.mcastaddr
    try:
        ipv6 = ipaddress.ip_address(local.address).version == 6
    except ValueError:
        ipv6 = derive.ip_version(loaded.config) in ("ipv6", "ipv6-4")
    return derive.multicast_group(loaded.config.totem.cluster_name, ipv6=ipv6)


def _state_dir(loaded: Loaded, option: paths.AnyPath | None) -> str:
    try:
        return str(paths.state_dir(option, _beside(loaded, loaded.config.system.state_dir)))
    except paths.PathError as error:
        raise ConfigError([Fault("error", None, "", str(error), "")]) from None


def _security(loaded: Loaded, state_dir: str) -> SecuritySettings:
    totem = loaded.config.totem
    cipher, hash_name = derive.security(totem, knet=bool(loaded.file) and derive.transport(loaded.config) == "knet")
    if cipher == hash_name == "none":
        return SecuritySettings()
    settings = SecuritySettings(cipher, hash_name, forward_secrecy=totem.forward_secrecy)
    if not loaded.file:
        return replace(settings, key_file=f"{state_dir}/authkey", key_created_if_missing=True)
    if totem.key and not totem.keyfile:
        return replace(settings, key=totem.key.encode())
    return replace(settings, key_file=str(paths.key_file(_beside(loaded, totem.keyfile) or None)))


def _beside(loaded: Loaded, path: str) -> str:
    """A path in the file: a relative one is relative to the file's directory, wherever the command runs."""
    return os.path.join(os.path.dirname(loaded.file), path) if path else ""


def _remote(loaded: Loaded) -> RemoteSettings:
    remote = loaded.config.remote
    if not remote.address:
        return RemoteSettings()
    files = (os.path.abspath(_beside(loaded, path)) for path in (remote.keyfile, remote.clients))
    return RemoteSettings(remote.address, remote.port, *files)


def _web(loaded: Loaded) -> WebSettings:
    if not loaded.given("web"):
        return WebSettings()
    web = loaded.config.web
    files = {name: getattr(web, name) for name in ("token_file", "tls_cert", "tls_key", "tls_clients")}
    return WebSettings(
        enabled=True,
        address=web.address,
        port=web.port,
        names=tuple(web.names.split()),
        **{name: os.path.abspath(_beside(loaded, path)) if path else "" for name, path in files.items()},
    )


def _logging(loaded: Loaded) -> dict[str, LogSettings]:
    """The general settings under "", and those of each subsystem with settings of its own."""
    logging = loaded.config.logging
    everywhere = LoggerSubsys(subsys="everywhere")
    settings = {"": _log_settings(logging, everywhere)}
    for subsys in logging.logger_subsys:
        settings[subsys.subsys.upper()] = _log_settings(logging, subsys)
    return {name: replace(each, logfile=_beside(loaded, each.logfile)) for name, each in settings.items()}


def _log_settings(logging: Logging, subsys: LoggerSubsys) -> LogSettings:
    own = {name: value for name, value in subsys if name != "subsys" and value not in (None, "")}
    names = LogSettings.__dataclass_fields__.keys() - {"own"}
    return LogSettings(**{name: getattr(logging, name) for name in names} | own, own=tuple(sorted(own)))


def _allowed(loaded: Loaded, machine: Machine) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of the users and groups of uidgid{}. Raises ConfigError for those that do not exist."""
    uids: set[int] = set()
    gids: set[int] = set()
    faults: list[Fault] = []
    for index, entry in enumerate(loaded.config.uidgid):
        for key, name, find, numbers in (
            ("uid", entry.uid, machine.user_id, uids),
            ("gid", entry.gid, machine.group_id, gids),
        ):
            number = find(name) if name else None
            if number is not None:
                numbers.add(number)
            elif name:
                what = "user" if key == "uid" else "group"
                why = f"there is no {what} {quoted(name)} on this machine"
                faults.append(loaded.fault("error", ("uidgid", index, key), why, "remove it, or write a number"))
    if faults:
        raise ConfigError(faults)
    return tuple(sorted(uids)), tuple(sorted(gids))
