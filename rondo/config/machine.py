"""What resolving a configuration needs to know of the machine: its names, its addresses, its users.

It is an object, so that tests can use any machine they like.
"""

import grp
import ipaddress
import os
import pwd
import socket
from typing import Protocol

from rondo.config import interfaces


class Machine(Protocol):
    """A machine, as far as a configuration depends on it."""

    def hostname(self) -> str:
        """Its own host name."""

    def has_address(self, address: str) -> bool:
        """True if an IP address is one of its own."""

    def interface_addresses(self) -> list[interfaces.InterfaceAddress]:
        """The addresses of its network interfaces with their networks."""

    def lookup(self, name: str) -> list[str]:
        """The IP addresses of a host name; [] if it has none. May take seconds."""

    def user_id(self, name: str) -> int | None:
        """The number of a user, by name or number; None if there is no such user."""

    def group_id(self, name: str) -> int | None:
        """The number of a group, by name or number; None if there is no such group."""


ID_MAX = 0xFFFF_FFFE
"""Largest number of a user or group: (uid_t) -1 means nobody at all."""


def id_of(digits: str) -> int | None:
    """The number of a user or group that was written as a number; None if it is out of range."""
    number = int(digits) if len(digits) <= 10 else ID_MAX + 1
    return number if number <= ID_MAX else None


class ThisMachine:
    """The machine that this process runs on, in its network namespace."""

    def hostname(self) -> str:
        return os.environ.get("HOSTNAME") or socket.gethostname()

    def has_address(self, address: str) -> bool:
        """By the lists of the interfaces: with net.ipv4.ip_nonlocal_bind a bind succeeds for any address."""
        ip = ipaddress.ip_address(address)
        return (ip.version == 4 and ip.is_loopback) or any(own.address == ip for own in self.interface_addresses())

    def interface_addresses(self) -> list[interfaces.InterfaceAddress]:
        return interfaces.interface_addresses()

    def lookup(self, name: str) -> list[str]:
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            return []
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def user_id(self, name: str) -> int | None:
        if name.isascii() and name.isdigit():
            return id_of(name)
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            return None

    def group_id(self, name: str) -> int | None:
        if name.isascii() and name.isdigit():
            return id_of(name)
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            return None
