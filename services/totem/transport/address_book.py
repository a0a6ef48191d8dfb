"""Which addresses this node and the others have: from the nodelist, from `bindnetaddr`, from names.

A loopback address is taken only if all nodes have one: 127.0.1.1, which many installers write into /etc/hosts for the
own name, would otherwise cut the node off without a word.
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
    """Where this node and the others are."""

    transport: TransportSettings
    multicast: bool = False
    """`transport: udp`; otherwise udpu."""
    members: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """The nodelist: addresses or names by node id, this node among them. Empty: addresses are learned (udp only)."""
    local_address: str = ""
    """Address or name of this node."""
    bindnetaddr: str = ""
    """If not empty it says which interface to use, in place of `local_address`: an address, or a network."""
    ip_version: str = "ipv4"
    netmtu: int = 1500
    """Bytes of a full IP packet, if packets are sealed: larger ones are cut into segments. If they are plain, bytes of
    a full datagram, without the headers of IP and UDP, as Corosync has it."""
    ip_headers: int = 48
    """Bytes of the headers of IP and UDP at most."""
    netmtu_given: bool = True
    """Somebody wants this very netmtu; otherwise no packet is larger than the interface takes whole."""
    check_interval_ms: int = 1000
    """Pause between two attempts to find a missing address (downcheck)."""


class AddressBook:
    """Answers where this node is and where the others are, as far as that is known now."""

    def __init__(self, settings: LinkSettings, known: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """`known`: addresses of names that were found before."""
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
        """The address to run on. Raises `AddressNotAvailable`, which says why there is none for now."""
        try:
            known: list[LocalAddress] | None = local_addresses()
        except OSError:
            known = None  # the kernel does not say; whether the address is there shows when it is bound
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
        # Not listed does not mean not ours: there may be a local route to a whole network.
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
