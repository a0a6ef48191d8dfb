"""The addresses of this node and the others: from the nodelist, from `bindnetaddr`, from names.

A loopback address is used only if all nodes have one. Many installers write 127.0.1.1 into /etc/hosts for the node's
own name; using it would silently cut the node off.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.totem.transport.base import TransportSettings
from services.totem.transport.interfaces import LocalAddress, find_address, is_local, local_addresses, select_address
from services.totem.transport.resolver import Resolver
from services.totem.transport.sockets import AddressNotAvailable, is_loopback

_log = logging.getLogger("TOTEM")


@dataclass(slots=True, frozen=True)
class LinkSettings:
    """The addresses of this node and the others, and how to reach them."""

    transport: TransportSettings
    multicast: bool = False
    """`transport: udp`; otherwise udpu."""
    members: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """The nodelist: addresses or names by node id, this node among them. Empty: addresses are learned (udp only)."""
    local_address: str = ""
    """Address or name of this node."""
    bindnetaddr: str = ""
    """If not empty, it selects the interface instead of `local_address`: an address, or a network."""
    ip_version: str = "ipv4"
    netmtu: int = 1500
    """If packets are sealed: bytes of a full IP packet; larger ones are cut into segments. If they are plain: bytes of
    a full datagram without IP and UDP headers, as in Corosync."""
    ip_headers: int = 48
    """Most bytes of the IP and UDP headers."""
    netmtu_given: bool = True
    """Whether netmtu is configured. If not, no packet is larger than the interface's MTU."""
    check_interval_ms: int = 1000
    """Pause between two attempts to find a missing address (downcheck)."""


class AddressBook:
    """Returns the addresses of this node and the others, as far as they are known now."""

    def __init__(self, settings: LinkSettings, known: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """`known`: addresses of names that were resolved before."""
        self._settings = settings
        names = [name for known in settings.members.values() for name in known]
        if not settings.bindnetaddr:
            names.append(settings.local_address)
        self.resolver = Resolver(names, settings.ip_version, known=known)

    def members(self) -> dict[int, tuple[str, ...]]:
        """Known addresses of every node of the nodelist."""
        known = self.resolver.addresses
        return {
            node: tuple(address for name in names[:1] for address in known(name))
            for node, names in self._settings.members.items()
        }

    def own_address(self) -> str:
        """The address to bind. Raises `AddressNotAvailable` with the reason if there is none at present."""
        try:
            known: list[LocalAddress] | None = local_addresses()
        except OSError:
            known = None  # the kernel does not tell; bind() will show whether the address exists
        if self._settings.bindnetaddr:
            return _selected(known, self._settings.bindnetaddr)
        name = self._settings.local_address
        candidates = self.resolver.addresses(name)
        if not candidates:
            raise AddressNotAvailable(f"the name {name} has no address yet")
        usable = [each for each in candidates if not is_loopback(each) or self._all_loopback()]
        if not usable:
            raise AddressNotAvailable(
                f"{name} is {candidates[0]} here, which other nodes cannot reach; "
                "mend /etc/hosts, or write this node's address into the nodelist"
            )
        if known is None:
            return usable[0]
        there = [found for each in usable if (found := find_address(known, each)) is not None]
        for found in there:
            if found.up:
                return found.address
        if there:
            raise AddressNotAvailable(f"the interface {there[0].interface} with {there[0].address} is down")
        # An unlisted address may still be ours: there may be a local route to a whole network.
        for each in usable:
            if is_local(each):
                return each
        raise AddressNotAvailable(f"no interface of this machine has the address {usable[0]}")

    def _all_loopback(self) -> bool:
        members = self.members()
        return all(addresses and is_loopback(addresses[0]) for addresses in members.values())


def _selected(known: list[LocalAddress] | None, bindnetaddr: str) -> str:
    if known is None:
        return bindnetaddr
    found = select_address(known, bindnetaddr)
    if found is None:
        raise AddressNotAvailable(f"no interface has an address in the network of bindnetaddr {bindnetaddr}")
    if not found.up:
        raise AddressNotAvailable(f"the interface {found.interface} with {found.address} is down")
    return found.address
