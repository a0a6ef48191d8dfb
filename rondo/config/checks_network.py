"""Checks of nodes, addresses, interfaces and transport. They do not look at the machine and resolve no names."""

import ipaddress
from collections.abc import Iterator

from rondo.config import derive
from rondo.config.checks_knet import check_knet
from rondo.config.faults import Fault, quoted
from rondo.config.loaded import Loaded, OptionPath
from rondo.config.schema_totem import ONE_LINK

NODES_MAX = 384
"""Members of a ring at most (Corosync's PROCESSOR_COUNT_MAX)."""

C_COROSYNC_NEEDS_NODELIST = "a ring with C Corosync 3.1 members needs a nodelist"

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_network(loaded: Loaded) -> list[Fault]:
    """All faults and warnings about the network."""
    if derive.transport(loaded.config) == "knet":
        return check_knet(loaded) + [each for check in (_nodes, _node_ids) for each in check(loaded)]
    checks = (_transport, _interfaces, _group, _source_of_nodes, _one_link)
    faults = [fault for check in checks for fault in check(loaded)]
    if loaded.config.nodelist.node:
        faults += [fault for check in (_nodes, _node_ids, _addresses, _loopback) for fault in check(loaded)]
    elif derive.link(loaded.config)[1].member:
        faults += _members(loaded)
    elif loaded.config.totem.interface:
        faults += _open_multicast(loaded)
    return faults


def _ip(text: str) -> Ip | None:
    """The address, or None for a host name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _transport(loaded: Loaded) -> Iterator[Fault]:
    """Without `transport`, Corosync 3 takes knet and 2.x takes udp, so the choice is reported."""
    if loaded.config.totem.transport is None:
        chosen = derive.transport(loaded.config)
        yield loaded.fault(
            "warning", ("totem",), f"no transport is given, {chosen} is used", f"write transport: {chosen} on all nodes"
        )


def _one_link(loaded: Loaded) -> Iterator[Fault]:
    """udp and udpu have one link: warn of addresses of further links."""
    for index, node in enumerate(loaded.config.nodelist.node):
        for link in range(1, derive.LINKS_MAX):
            if getattr(node, f"ring{link}_addr"):
                path = ("nodelist", "node", index, f"ring{link}_addr")
                yield loaded.fault("error", path, f"has no place: {ONE_LINK}", "remove it, or write transport: knet")


def _interfaces(loaded: Loaded) -> Iterator[Fault]:
    """udp and udpu take one interface{}, that of link 0."""
    interfaces = loaded.config.totem.interface
    link = derive.link(loaded.config)[0]
    if len(interfaces) > derive.LINKS_MAX:
        yield loaded.fault(
            "error", ("totem", "interface", derive.LINKS_MAX), f"more than {derive.LINKS_MAX} interfaces", ONE_LINK
        )
        return
    for index, interface in enumerate(interfaces):
        path: OptionPath = ("totem", "interface", index)
        if index != link and not (interface.linknumber or interface.ringnumber):
            yield loaded.fault("error", path, "a second interface for link 0", "remove one of them")


def _group(loaded: Loaded) -> Iterator[Fault]:
    """The multicast group or broadcast of udp."""
    index, interface = derive.link(loaded.config)
    if derive.transport(loaded.config) != "udp" or not (loaded.config.nodelist.node or index >= 0):
        return
    path: OptionPath = ("totem", "interface", index)
    families = {ip.version for text in _configured_addresses(loaded) if (ip := _ip(text))}
    if interface.broadcast:
        if interface.mcastaddr:
            why = "broadcast and mcastaddr exclude each other"
            yield loaded.fault("error", (*path, "broadcast"), why, "remove one of them")
        if 6 in families:
            yield loaded.fault("error", (*path, "broadcast"), "IPv6 has no broadcast", "write mcastaddr instead")
    elif interface.mcastaddr:
        group = ipaddress.ip_address(interface.mcastaddr)
        if families and group.version not in families:
            why = f"{group} is IPv{group.version}, the nodes' addresses are not"
            yield loaded.fault("error", (*path, "mcastaddr"), why, "write a group of the same family")
    elif not loaded.config.totem.cluster_name:
        why = "udp needs a multicast group"
        yield loaded.fault("error", path if index >= 0 else ("totem",), why, "write mcastaddr, or totem.cluster_name")


def _configured_addresses(loaded: Loaded) -> list[str]:
    """The addresses of the nodes, or where there are none that of the network."""
    nodes = [node.ring0_addr for node in loaded.config.nodelist.node]
    interface = derive.link(loaded.config)[1]
    return nodes or [member.memberaddr for member in interface.member] or [interface.bindnetaddr]


def _source_of_nodes(loaded: Loaded) -> Iterator[Fault]:
    """One of nodelist, member{} and bindnetaddr is needed. If there are several, the first of them applies."""
    index, interface = derive.link(loaded.config)
    path: OptionPath = ("totem", "interface", index)
    if loaded.config.nodelist.node:
        return
    if interface.member:
        if derive.transport(loaded.config) == "udp":
            yield loaded.fault("error", (*path, "member", 0), "is for udpu", "write transport: udpu, or a nodelist")
    elif derive.transport(loaded.config) == "udpu":
        mend = "write a nodelist with every node"
        yield loaded.fault("error", ("totem", "transport"), "udpu needs to know the nodes", mend)
    elif not interface.bindnetaddr:
        where = path if index >= 0 else ("totem",)
        yield loaded.fault("error", where, "there is no address of this node", "write a nodelist with every node")


def _nodes(loaded: Loaded) -> Iterator[Fault]:
    nodes = loaded.config.nodelist.node
    if len(nodes) > NODES_MAX:
        why = f"has {len(nodes)} nodes, a ring takes {NODES_MAX}"
        yield loaded.fault("error", ("nodelist",), why, "remove the rest")
    for key in ("ring0_addr", "name"):
        seen: dict[str, int] = {}
        for index, node in enumerate(nodes):
            value = getattr(node, key).lower()
            if value and value in seen:
                line = loaded.place("nodelist", "node", seen[value], key).line
                why = f"{quoted(value)} is another node's too (line {line})"
                yield loaded.fault("error", ("nodelist", "node", index, key), why, "give each node its own")
            seen[value] = index


def _node_ids(loaded: Loaded) -> Iterator[Fault]:
    totem = loaded.config.totem
    seen: dict[int, int] = {}
    for index, node in enumerate(loaded.config.nodelist.node):
        path: OptionPath = ("nodelist", "node", index)
        node_id = node.nodeid
        if node_id is None:
            node_id = derive.node_id_of_address(node.ring0_addr, clear_high_bit=totem.clear_node_high_bit)
        if node_id is None:
            why = f"there is none, and {quoted(node.ring0_addr)} is no IPv4 address that one could be made of"
            yield loaded.fault("error", (*path, "nodeid"), why, "write nodeid: and a number, another one for each node")
        elif node_id in seen:
            line = loaded.place("nodelist", "node", seen[node_id], "nodeid").line
            why = f"{node_id} is another node's too (line {line})"
            yield loaded.fault("error", (*path, "nodeid"), why, "give each node its own")
        else:
            seen[node_id] = index
    for chosen, where in ((loaded.node_id, "--nodeid"), (totem.nodeid, "totem.nodeid")):
        if chosen is not None and seen and chosen not in seen:
            path = ("totem", "nodeid") if where == "totem.nodeid" else ("nodelist",)
            known = ", ".join(str(node_id) for node_id in sorted(seen)[:8])
            mend = f"write one that it has: {known}{' ...' if len(seen) > 8 else ''}"
            yield loaded.fault("error", path, f"{where} is {chosen}, which is no node of the nodelist", mend)


def _addresses(loaded: Loaded) -> Iterator[Fault]:
    first: tuple[int, Ip] | None = None
    for index, node in enumerate(loaded.config.nodelist.node):
        path = ("nodelist", "node", index, "ring0_addr")
        ip = _ip(node.ring0_addr)
        if ip is None:
            continue
        if ip.is_unspecified or ip.is_multicast:
            yield loaded.fault("error", path, f"{ip} is not the address of one node", "write the node's own address")
        if isinstance(ip, ipaddress.IPv6Address) and ip.is_link_local and ip.scope_id is None:
            why = f"{ip} is link-local and does not say on which interface"
            yield loaded.fault("error", path, why, f"write {ip}%eth0 with the interface's name")
        if first and first[1].version != ip.version:
            line = loaded.place("nodelist", "node", first[0], "ring0_addr").line
            why = f"{ip} is IPv{ip.version}, but {first[1]} (line {line}) is not"
            yield loaded.fault("error", path, why, "use one family for all nodes")
        first = first or (index, ip)


def _loopback(loaded: Loaded) -> Iterator[Fault]:
    """A loopback address reaches no other machine: all nodes have one (all on one machine), or none."""
    nodes = loaded.config.nodelist.node
    local = [index for index, node in enumerate(nodes) if _is_loopback(node.ring0_addr)]
    if local and len(local) < len(nodes):
        path = ("nodelist", "node", local[0], "ring0_addr")
        why = f"{quoted(nodes[local[0]].ring0_addr)} is a loopback address, which the other nodes cannot reach"
        yield loaded.fault("error", path, why, "write the node's address on the network")


def _is_loopback(text: str) -> bool:
    ip = _ip(text)
    return ip.is_loopback if ip else text.lower().rstrip(".") in ("localhost", "localhost.localdomain")


def _members(loaded: Loaded) -> Iterator[Fault]:
    """member{} lists of 2.x: they have no identifiers, so these follow from the IPv4 addresses."""
    index, interface = derive.link(loaded.config)
    yield loaded.fault("warning", ("totem", "interface", index), C_COROSYNC_NEEDS_NODELIST, "")
    totem = loaded.config.totem
    seen: dict[int, int] = {}
    for number, member in enumerate(interface.member):
        path = ("totem", "interface", index, "member", number, "memberaddr")
        node_id = derive.node_id_of_address(member.memberaddr, clear_high_bit=totem.clear_node_high_bit)
        if node_id is None:
            yield loaded.fault("error", path, "an IPv6 node needs a nodeid", "write a nodelist")
        elif node_id in seen:
            yield loaded.fault("error", path, f"{member.memberaddr} is given twice", "remove one of them")
        else:
            seen[node_id] = number
    if totem.nodeid is not None and totem.nodeid not in seen:
        why = "with member{} lists the identifiers follow from the IPv4 addresses; others would not know this one"
        yield loaded.fault("error", ("totem", "nodeid"), why, "remove it, or write a nodelist")


def _open_multicast(loaded: Loaded) -> Iterator[Fault]:
    """2.x multicast without a list of nodes."""
    index, interface = derive.link(loaded.config)
    if derive.transport(loaded.config) != "udp" or not interface.bindnetaddr:
        return
    why = f"no nodelist: this runs among Rondo nodes only; {C_COROSYNC_NEEDS_NODELIST}"
    yield loaded.fault("warning", ("totem", "interface", index), why, "")
    chosen = loaded.node_id or loaded.config.totem.nodeid
    if chosen is None and ipaddress.ip_address(interface.bindnetaddr).version == 6:
        why = "IPv6 needs a nodeid"
        yield loaded.fault("error", ("totem", "interface", index, "bindnetaddr"), why, "write totem.nodeid")
