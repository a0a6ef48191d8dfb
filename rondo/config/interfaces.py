"""The addresses of this machine's network interfaces and their networks, from the kernel, without privileges.

IPv4 addresses come from the ioctls of netdevice(7). SIOCGIFCONF lists one entry for each address (including aliases,
under the interface's name or label), SIOCGIFNETMASK gives the mask of each, SIOCGIFFLAGS whether it is up. These ioctls
do not know IPv6, whose addresses come from /proc/net/if_inet6 (proc(5)).
"""

import array
import fcntl
import ipaddress
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

SIOCGIFCONF = 0x8912
SIOCGIFNETMASK = 0x891B
SIOCGIFFLAGS = 0x8913
IFF_UP = 1
FLAGS_OFFSET = 16

IFREQ_BYTES = 40
"""struct ifreq on 64 bit systems: 16 bytes of name, then a union whose sockaddr_in has its address at offset 4."""
ADDRESS_OFFSET = 20
ENTRIES_MAX = 1024

IF_INET6 = Path("/proc/net/if_inet6")

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address, its network, and the interface's name."""

    name: str
    address: Ip
    network: Network
    up: bool = True
    """True if the interface was switched on."""


def interface_addresses() -> list[InterfaceAddress]:
    """All addresses of all interfaces, IPv4 first. What the kernel does not report is left out."""
    return [*_ipv4(), *_ipv6()]


def _ipv4() -> list[InterfaceAddress]:
    buffer = array.array("B", bytes(IFREQ_BYTES * ENTRIES_MAX))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("iL", len(buffer), buffer.buffer_info()[0])
        try:
            filled = struct.unpack("iL", fcntl.ioctl(probe.fileno(), SIOCGIFCONF, request))[0]
        except OSError:
            return []
        entries = buffer.tobytes()[:filled]
        found = []
        for offset in range(0, filled - IFREQ_BYTES + 1, IFREQ_BYTES):
            entry = entries[offset : offset + IFREQ_BYTES]
            try:
                # The request contains the address, too: it selects one of several addresses of an interface.
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFNETMASK, entry)
            except OSError:
                continue
            address = ipaddress.IPv4Address(entry[ADDRESS_OFFSET : ADDRESS_OFFSET + 4])
            mask = ipaddress.IPv4Address(answer[ADDRESS_OFFSET : ADDRESS_OFFSET + 4])
            network = ipaddress.IPv4Network((int(address), str(mask)), strict=False)
            name = entry[:16].split(b"\0")[0].decode(errors="replace")
            found.append(InterfaceAddress(name, address, network, _is_up(probe, entry)))
    return found


def _is_up(probe: socket.socket, request: bytes) -> bool:
    try:
        answer = fcntl.ioctl(probe.fileno(), SIOCGIFFLAGS, request)
    except OSError:
        return False
    return bool(struct.unpack_from("h", answer, FLAGS_OFFSET)[0] & IFF_UP)


def _ipv6() -> list[InterfaceAddress]:
    try:
        lines = IF_INET6.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        packed, _, prefix, _, _, name = line.split()
        address = ipaddress.IPv6Address(bytes.fromhex(packed))
        network = ipaddress.IPv6Network((int(address), int(prefix, 16)), strict=False)
        if address.is_link_local:
            address = ipaddress.IPv6Address(f"{address}%{name}")
        found.append(InterfaceAddress(name, address, network))
    return found
