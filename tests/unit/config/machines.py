"""A machine that a test describes, in place of the one that the test runs on."""

import ipaddress
from dataclasses import dataclass, field

from rondo.config.interfaces import InterfaceAddress
from rondo.config.machine import id_of


@dataclass
class FakeMachine:
    """A machine with these host names, addresses (such as `10.0.0.5/24`) and users."""

    host: str = "elsewhere"
    addresses: tuple[str, ...] = ()
    names: dict[str, list[str]] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)

    def hostname(self) -> str:
        return self.host

    def has_address(self, address: str) -> bool:
        ip = ipaddress.ip_address(address)
        return (ip.version == 4 and ip.is_loopback) or any(own.address == ip for own in self.interface_addresses())

    def interface_addresses(self) -> list[InterfaceAddress]:
        interfaces = (ipaddress.ip_interface(address) for address in self.addresses)
        return [InterfaceAddress("eth0", interface.ip, interface.network) for interface in interfaces]

    def lookup(self, name: str) -> list[str]:
        return self.names.get(name, [])

    def user_id(self, name: str) -> int | None:
        return id_of(name) if name.isascii() and name.isdigit() else self.users.get(name)

    def group_id(self, name: str) -> int | None:
        return id_of(name) if name.isascii() and name.isdigit() else self.groups.get(name)
