"""Finds the node that this machine is, and its address: by identifier, by name, by address, or by network."""

import ipaddress
from dataclasses import dataclass

from rondo.config import derive
from rondo.config.faults import ConfigError, quoted
from rondo.config.loaded import Loaded
from rondo.config.machine import Machine
from rondo.config.schema_totem import Node

SHOWN_MAX = 8
"""How many addresses or identifiers of a list are named in a message."""


class NotThisMachineError(ConfigError):
    """The configuration may be valid, but it does not tell which of its nodes this machine is."""


@dataclass(frozen=True, slots=True)
class LocalNode:
    """This node: its identifier, its address as written, its name (or "")."""

    node_id: int
    address: str
    name: str = ""


def local_node(loaded: Loaded, machine: Machine) -> LocalNode:
    """This node. Raises NotThisMachineError if the configuration has no such node, or several candidates."""
    if loaded.config.nodelist.node:
        return _of_nodelist(loaded, machine)
    if derive.link(loaded.config)[1].member:
        return _of_members(loaded, machine)
    return _of_network(loaded, machine)


def node_id_of(loaded: Loaded, node: Node) -> int:
    """A node's identifier. The checks have made sure that there is one."""
    derived = derive.node_id_of_address(node.ring0_addr, clear_high_bit=loaded.config.totem.clear_node_high_bit)
    node_id = derived if node.nodeid is None else node.nodeid
    if node_id is None:
        raise AssertionError(f"node {node.ring0_addr} without identifier passed the checks")
    return node_id


def _wanted(loaded: Loaded) -> int | None:
    """The requested identifier; the command line wins."""
    return loaded.config.totem.nodeid if loaded.node_id is None else loaded.node_id


def _refuse(loaded: Loaded, path: tuple[str | int, ...], why: str, mend: str) -> NotThisMachineError:
    return NotThisMachineError([loaded.fault("error", path, why, mend)])


def _of_nodelist(loaded: Loaded, machine: Machine) -> LocalNode:
    nodes = {node_id_of(loaded, node): node for node in loaded.config.nodelist.node}
    wanted = _wanted(loaded)
    node_id = _by_host_name(nodes, machine.hostname()) if wanted is None else wanted
    if node_id is None:
        node_id = _by_address(loaded, nodes, machine)
    node = nodes[node_id]
    return LocalNode(node_id, node.ring0_addr, node.name)


def _by_host_name(nodes: dict[int, Node], host: str) -> int | None:
    """By $HOSTNAME as it is, then without its domain, then by the nodes' names without theirs (corosync.conf(5),
    name)."""
    host = host.lower()
    short = host.partition(".")[0]
    for wanted, cut in ((host, False), (short, False), (short, True)):
        for node_id, node in nodes.items():
            for name in (node.name.lower(), node.ring0_addr.lower()):
                if wanted and wanted == (_without_domain(name) if cut else name):
                    return node_id
    return None


def _without_domain(name: str) -> str:
    """The first label of a host name. An address has no domain and is returned whole."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.partition(".")[0]
    return name


def _by_address(loaded: Loaded, nodes: dict[int, Node], machine: Machine) -> int:
    """The one node with an address of this machine. Names are resolved only if no numeric address is ours."""
    found = [node_id for node_id, node in nodes.items() if _is_ours(node.ring0_addr, machine)]
    if not found:
        found = [
            node_id
            for node_id, node in nodes.items()
            if not _is_ip(node.ring0_addr) and any(_is_ours(ip, machine) for ip in machine.lookup(node.ring0_addr))
        ]
    if len(found) > 1:
        why = f"several nodes have an address of this machine: {_some(found)}"
        raise _refuse(loaded, ("nodelist",), why, "say which one this is with --nodeid or totem.nodeid")
    if not found:
        why = f"no node has the name {quoted(machine.hostname())} or an address of this machine"
        mend = "add this machine, or say which node it is with --nodeid or totem.nodeid"
        raise _refuse(loaded, ("nodelist",), why, mend)
    return found[0]


def members_of(loaded: Loaded) -> dict[int, str]:
    """Identifier and address of each listed node, from the nodelist or from member{}; {} if none is listed."""
    nodes = loaded.config.nodelist.node
    if nodes:
        return {node_id_of(loaded, node): node.ring0_addr for node in nodes}
    high_bit = loaded.config.totem.clear_node_high_bit
    members = {}
    for member in derive.link(loaded.config)[1].member:
        node_id = derive.node_id_of_address(member.memberaddr, clear_high_bit=high_bit)
        if node_id is None:
            raise AssertionError(f"member {member.memberaddr} without identifier passed the checks")
        members[node_id] = member.memberaddr
    return members


def first_node(loaded: Loaded) -> LocalNode:
    """The first node of the configuration, to show its meaning on a machine that is none of its nodes."""
    for node_id, address in members_of(loaded).items():
        return LocalNode(node_id, address)
    address = derive.link(loaded.config)[1].bindnetaddr
    derived = derive.node_id_of_address(address, clear_high_bit=loaded.config.totem.clear_node_high_bit)
    return LocalNode(_wanted(loaded) or derived or 1, address)


def _of_members(loaded: Loaded, machine: Machine) -> LocalNode:
    index, interface = derive.link(loaded.config)
    members = members_of(loaded)
    path = ("totem", "interface", index)
    wanted = _wanted(loaded)
    if wanted is not None:
        if wanted not in members:
            mend = f"write one of {_some(list(members))}"
            raise _refuse(loaded, path, f"node {wanted} is none of the members", mend)
        return LocalNode(wanted, members[wanted])
    found = [node_id for node_id, address in members.items() if machine.has_address(address)]
    if interface.bindnetaddr:
        ours = _addresses_in_network(interface.bindnetaddr, machine)
        found = [node_id for node_id in found if members[node_id] in ours] or found
    if len(found) != 1:
        why = "several members have an address of this machine" if found else "no member has an address of this machine"
        raise _refuse(loaded, path, why, "add this machine's address as memberaddr, or name the node with --nodeid")
    return LocalNode(found[0], members[found[0]])


def _of_network(loaded: Loaded, machine: Machine) -> LocalNode:
    """By bindnetaddr alone: the interface that has the address, or is in the network."""
    index, interface = derive.link(loaded.config)
    path = ("totem", "interface", index, "bindnetaddr")
    found = _addresses_in_network(interface.bindnetaddr, machine)
    if not found:
        have = _some([str(own.address) for own in machine.interface_addresses()])
        why = f"no interface of this machine has the address or network {interface.bindnetaddr}; it has {have}"
        raise _refuse(loaded, path, why, "write the address or the network of one of these")
    node_id = _wanted(loaded)
    if node_id is None:
        node_id = derive.node_id_of_address(found[0], clear_high_bit=loaded.config.totem.clear_node_high_bit)
    if node_id is None:
        raise _refuse(loaded, path, "IPv6 needs a nodeid", "write totem.nodeid")
    return LocalNode(node_id, found[0])


def _addresses_in_network(bindnetaddr: str, machine: Machine) -> list[str]:
    """Our addresses that bindnetaddr selects: itself, else (IPv4) those in whose network it is."""
    wanted = ipaddress.ip_address(bindnetaddr)
    own = machine.interface_addresses()
    # If there are several: those of interfaces that are up come first, each group in the order of interfaces.
    own = sorted(own, key=lambda entry: not entry.up)
    exact = [str(entry.address) for entry in own if entry.address == wanted]
    if exact or (wanted.version == 4 and wanted.is_loopback and machine.has_address(bindnetaddr)):
        return exact or [bindnetaddr]
    if wanted.version == 6:
        return []
    return [str(entry.address) for entry in own if wanted in entry.network and entry.network.prefixlen > 0]


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_ours(text: str, machine: Machine) -> bool:
    return _is_ip(text) and machine.has_address(text)


def _some(values: list[int] | list[str]) -> str:
    shown = ", ".join(str(value) for value in values[:SHOWN_MAX])
    return f"{shown} ..." if len(values) > SHOWN_MAX else shown
