"""Which parts of a configuration can change while the node runs: every field of NodeConfig can, or cannot.

These can: the nodelist, the nodes' addresses, knet's links and their use, the ring's timers, votes, logs, and the users
that may connect. The rest is agreed with other nodes when a ring is formed, or bound to sockets and files at the start.
"""

import errno
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import fields, replace

from rondo.config.faults import Fault
from rondo.config.loaded import Loaded, OptionPath
from rondo.config.local_node import node_id_of
from rondo.config.node import KnetSettings, NodeConfig, QuorumSettings
from rondo.config.schema_totem import Node

CHANGEABLE: dict[str, OptionPath] = {
    "node_name": ("nodelist",),
    "node_names": ("nodelist",),
    "members": ("nodelist",),
    "local_address": ("nodelist",),
    "config_version": ("totem", "config_version"),
    "token_timeout_ms": ("totem", "token"),
    "token_retransmit_ms": ("totem", "token_retransmit"),
    "token_retransmits_before_loss_const": ("totem", "token_retransmits_before_loss_const"),
    "token_hold_ms": ("totem", "hold"),
    "token_warning_percent": ("totem", "token_warning"),
    "join_timeout_ms": ("totem", "join"),
    "send_join_ms": ("totem", "send_join"),
    "consensus_timeout_ms": ("totem", "consensus"),
    "consensus_early_ms": ("totem", "consensus_early"),
    "merge_timeout_ms": ("totem", "merge"),
    "downcheck_timeout_ms": ("totem", "downcheck"),
    "fail_recv_const": ("totem", "fail_recv_const"),
    "seqno_unchanged_const": ("totem", "seqno_unchanged_const"),
    "miss_count_const": ("totem", "miss_count_const"),
    "cancel_token_hold_on_retransmit": ("totem", "cancel_token_hold_on_retransmit"),
    "logging": ("logging",),
    "allowed_uids": ("uidgid",),
    "allowed_gids": ("uidgid",),
}
"""Fields of NodeConfig that can change, and the options from which they are set."""

FIXED: dict[str, OptionPath] = {
    "node_id": ("totem", "nodeid"),
    "cluster_name": ("totem", "cluster_name"),
    "config_file": (),
    "transport": ("totem", "transport"),
    "bindnetaddr": ("totem", "interface", 0, "bindnetaddr"),
    "mcastaddr": ("totem", "interface", 0, "mcastaddr"),
    "mcastport": ("totem", "interface", 0, "mcastport"),
    "ttl": ("totem", "interface", 0, "ttl"),
    "ip_dscp": ("totem", "ip_dscp"),
    "broadcast": ("totem", "interface", 0, "broadcast"),
    "block_unlisted_ips": ("totem", "block_unlisted_ips"),
    "ip_version": ("totem", "ip_version"),
    "netmtu": ("totem", "netmtu"),
    "window_size": ("totem", "window_size"),
    "max_messages": ("totem", "max_messages"),
    "accelerated_window": ("totem", "accelerated_window"),
    "wide_windows": ("totem", "window_size"),
    "early_hold": ("totem", "seqno_unchanged_const"),
    "large_packets": ("totem", "netmtu"),
    "security": ("totem", "crypto_cipher"),
    "state_dir": ("system", "state_dir"),
    "service_timeout_ms": ("system", "service_timeout"),
    "cpu_affinity": ("system", "cpu_affinity"),
    "sched_rr": ("system", "sched_rr"),
    "low_latency": ("system", "low_latency"),
    "log_bytes_max": ("system", "log_bytes_max"),
    "message_size_max": ("cpg", "message_size_max"),
    "client_bytes_max": ("cpg", "client_bytes_max"),
    "qb_ipc": ("system", "qb_ipc"),
    "remote": ("remote",),
    "sam": ("sam",),
    "web": ("web",),
    "notify": ("notify",),
}
"""Fields that cannot change, and the options from which they are set."""

VOTES: dict[str, OptionPath] = {
    "expected_votes": ("quorum", "expected_votes"),
    "votes": ("quorum", "votes"),
    "node_votes": ("nodelist",),
    "two_node": ("quorum", "two_node"),
}
"""Fields of NodeConfig.quorum that can change; the others cannot."""

KNET: dict[str, OptionPath] = {
    "links": ("totem", "interface"),
    "addresses": ("nodelist",),
    "mode": ("totem", "link_mode"),
    "pmtud_interval_ms": ("totem", "knet_pmtud_interval"),
    "mtu": ("totem", "knet_mtu"),
    "compression": ("totem", "knet_compression_model"),
    "compression_threshold": ("totem", "knet_compression_threshold"),
    "compression_level": ("totem", "knet_compression_level"),
}
"""Fields of NodeConfig.knet: all of them can change, except the port of a link that exists already."""

_WORDS: dict[str, str] = {
    "wide_windows": "whether it is written at all",
    "early_hold": "whether it is written at all",
    "large_packets": "whether it is written at all",
}
MEND = "put it back, or start all nodes anew with it"


def carried_over(running: NodeConfig, loaded: Loaded, new: NodeConfig) -> NodeConfig:
    """The new configuration, with the values that other options determine only at the start: wait_for_all from
    two_node."""
    if loaded.config.quorum.wait_for_all is not None or not running.quorum.enabled:
        return new
    return replace(new, quorum=replace(new.quorum, wait_for_all=running.quorum.wait_for_all))


def changed(running: NodeConfig, new: NodeConfig) -> list[str]:
    """The names of the options that differ and can change."""
    found = [path for name, path in CHANGEABLE.items() if getattr(running, name) != getattr(new, name)]
    found += [path for name, path in VOTES.items() if getattr(running.quorum, name) != getattr(new.quorum, name)]
    found += [path for name, path in KNET.items() if getattr(running.knet, name) != getattr(new.knet, name)]
    return list(dict.fromkeys(_text(path) for path in found))


def refused(running: NodeConfig, loaded: Loaded, new: NodeConfig) -> list[Fault]:
    """The options that differ and cannot change: place in the file and name."""
    differing = [name for name in FIXED if getattr(running, name) != getattr(new, name)]
    faults = [_fault(loaded, name, FIXED[name]) for name in differing]
    faults += [
        _fault(loaded, name, ("quorum", "provider" if name == "enabled" else _option_of(name)))
        for name in (each.name for each in fields(QuorumSettings))
        if name not in VOTES and getattr(running.quorum, name) != getattr(new.quorum, name)
    ]
    if bool(running.members) != bool(new.members):
        faults.append(_fault(loaded, "members", ("nodelist",)))
    if running.transport == new.transport:
        faults += [*_ports(loaded, running.knet, new.knet), *_own_addresses(loaded, running, new)]
    return list({str(fault): fault for fault in faults}.values())


def _option_of(name: str) -> str:
    return name.removesuffix("_ms")


def _fault(loaded: Loaded, name: str, path: OptionPath) -> Fault:
    what = _WORDS.get(name, "this")
    return loaded.fault("error", path, f"{what} cannot change while the node runs", MEND)


def _ports(loaded: Loaded, running: KnetSettings, new: KnetSettings) -> Iterator[Fault]:
    interfaces = {each.linknumber: index for index, each in enumerate(loaded.config.totem.interface)}
    for number in running.links.keys() & new.links.keys():
        if running.links[number].port != new.links[number].port:
            path: OptionPath = ("totem", "interface", interfaces.get(number, 0), "mcastport")
            why = f"the port of link {number} cannot change while the node runs"
            mend = "put it back; or take the link out, reload, and add it with the port"
            yield loaded.fault("error", path, why, mend)


def _own_addresses(loaded: Loaded, running: NodeConfig, new: NodeConfig) -> Iterator[Fault]:
    """This node's new addresses must exist: otherwise it would be cut off once all nodes have changed."""
    if new.transport == "knet":
        before = running.knet.addresses.get(running.node_id, {})
        after = new.knet.addresses.get(new.node_id, {})
    else:
        before, after = {0: running.local_address}, {0: new.local_address}
    index = next((i for i, each in enumerate(loaded.config.nodelist.node) if _is(loaded, each, new.node_id)), 0)
    for link, address in after.items():
        if address == before.get(link):
            continue
        path: OptionPath = ("nodelist", "node", index, f"ring{link}_addr")
        if new.transport != "knet" and {_version(address), _version(before[link])} == {4, 6}:
            why = "this node's address cannot change its IP version while the node runs"
            yield loaded.fault("error", path, why, MEND)
        elif not _is_here(address):
            yield loaded.fault("error", path, f"no interface of this machine has {address}", "give it to one first")


def _is(loaded: Loaded, node: Node, node_id: int) -> bool:
    return node_id_of(loaded, node) == node_id


def _version(address: str) -> int:
    """4 or 6; 0 for a name."""
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return 0


def _is_here(address: str) -> bool:
    """True if a socket can be bound to the address. A host name passes, because it may become known later."""
    version = _version(address)
    if not version:
        return True
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def _text(path: OptionPath) -> str:
    return ".".join(str(part) for part in path)
