"""Checks under `transport: knet`: links, ports, addresses, identifiers."""

import ipaddress
from collections.abc import Iterator

from rondo.config import derive
from rondo.config.faults import Fault
from rondo.config.loaded import Loaded, OptionPath

HOST_ID_MAX = 65_535


def check_knet(loaded: Loaded) -> list[Fault]:
    """All faults and warnings about links."""
    if not loaded.config.nodelist.node:
        path = ("totem", "transport") if loaded.given("totem", "transport") else ("totem",)
        return [loaded.fault("error", path, "knet needs to know the nodes", "write a nodelist with every node")]
    checks = (_choice, _links, _ports, _timers, _addresses, _identifiers)
    return [fault for check in checks for fault in check(loaded)]


def _choice(loaded: Loaded) -> Iterator[Fault]:
    if loaded.config.totem.transport is None:
        why = "no transport is given; several links or knet options mean knet"
        yield loaded.fault("warning", ("totem",), why, "write transport: knet on all nodes")


def _links(loaded: Loaded) -> Iterator[Fault]:
    """Each interface{} must be for an existing link, and each link may have only one."""
    links = derive.knet_links(loaded.config)
    seen: dict[int, int] = {}
    for index, interface in enumerate(loaded.config.totem.interface):
        path: OptionPath = ("totem", "interface", index)
        number = interface.linknumber
        if number in seen:
            yield loaded.fault("error", path, f"a second interface for link {number}", "remove one of them")
        seen[number] = index
        if number not in links:
            why = f"has no effect: no node has a ring{number}_addr"
            yield loaded.fault("warning", path, why, "write the addresses, or remove it")


def _ports(loaded: Loaded) -> Iterator[Fault]:
    links = derive.knet_links(loaded.config)
    for number, link in links.items():
        for other in range(number):
            if other in links and links[other].port == link.port:
                yield _link_fault(loaded, number, f"port {link.port} is that of link {other} too", "give it its own")


def _timers(loaded: Loaded) -> Iterator[Fault]:
    for number, link in derive.knet_links(loaded.config).items():
        if link.ping_timeout_ms <= link.ping_interval_ms:
            why = f"knet_ping_timeout, {link.ping_timeout_ms} ms, is not more than the interval of pings"
            yield _link_fault(loaded, number, why, f"write at least {2 * link.ping_interval_ms}")


def _link_fault(loaded: Loaded, number: int, why: str, mend: str) -> Fault:
    for index, interface in enumerate(loaded.config.totem.interface):
        if interface.linknumber == number:
            return loaded.fault("error", ("totem", "interface", index), why, mend)
    return loaded.fault("error", ("totem",), f"link {number}: {why}", mend)


def _addresses(loaded: Loaded) -> Iterator[Fault]:
    """Each address belongs to one node, and other nodes can reach it."""
    seen: dict[str, tuple[int, int]] = {}
    for index, node in enumerate(loaded.config.nodelist.node):
        for link in range(derive.LINKS_MAX):
            text = getattr(node, f"ring{link}_addr")
            if not text:
                continue
            path = ("nodelist", "node", index, f"ring{link}_addr")
            try:
                ip = ipaddress.ip_address(text)
            except ValueError:
                continue
            if ip.is_unspecified or ip.is_multicast:
                yield loaded.fault(
                    "error", path, f"{ip} is not the address of one node", "write the node's own address"
                )
            if text in seen and seen[text][0] != index:
                other = ("nodelist", "node", seen[text][0], f"ring{seen[text][1]}_addr")
                why = f"{ip} is another node's too (line {loaded.place(*other).line})"
                yield loaded.fault("error", path, why, "give each node its own")
            seen[text] = (index, link)


def _identifiers(loaded: Loaded) -> Iterator[Fault]:
    for index, node in enumerate(loaded.config.nodelist.node):
        path = ("nodelist", "node", index)
        if node.nodeid is None:
            yield loaded.fault("error", path, "knet needs a nodeid", f"write nodeid: and a number up to {HOST_ID_MAX}")
        elif node.nodeid > HOST_ID_MAX:
            why = f"{node.nodeid} is more than knet can carry"
            yield loaded.fault("error", (*path, "nodeid"), why, f"write a number up to {HOST_ID_MAX}")
