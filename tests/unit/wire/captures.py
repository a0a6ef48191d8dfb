"""Captures of real Corosync 3.1.7 rings, read without the codecs that they are to judge.

`data/udp.pcap.gz`: two nodes over multicast: start, join, leave. `data/udpu.pcap.gz`: two nodes over unicast: start,
join, CPG messages of up to 2 MB, kill -9, rejoin, leave. Both unencrypted, taken on one end of the Ethernet between
two network namespaces, so that a node's copies to itself are not in them.
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data"
_PCAP_MAGIC = 0xA1B2C3D4
_LINKTYPE_ETHERNET = 1
_ETHERTYPE_IPV4 = 0x0800
_IPPROTO_IGMP = 2
_IPPROTO_UDP = 17


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram of a capture."""

    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes


@cache
def datagrams(name: str, directory: Path = DATA) -> tuple[Datagram, ...]:
    """All UDP datagrams of the capture `name` ("udp" or "udpu", or one of `directory`), in order.

    Raises `ValueError` at anything but whole UDP over IPv4 and the kernel's IGMP: nothing is left out silently.
    """
    data = gzip.decompress((directory / f"{name}.pcap.gz").read_bytes())
    magic, _, _, _, _, _, linktype = struct.unpack_from("<IHHiIII", data)
    if magic != _PCAP_MAGIC or linktype != _LINKTYPE_ETHERNET:
        raise ValueError(f"{name}: not a little-endian pcap file of an Ethernet")
    found: list[Datagram] = []
    at = 24
    while at < len(data):
        _, _, kept, length = struct.unpack_from("<IIII", data, at)
        at += 16
        if kept != length or at + kept > len(data):
            raise ValueError(f"{name}: frame cut short at {at}")
        datagram = _datagram_of(data[at : at + kept])
        if datagram is not None:
            found.append(datagram)
        at += kept
    return tuple(found)


def _datagram_of(frame: bytes) -> Datagram | None:
    """The datagram in an Ethernet frame; None for IGMP."""
    (ethertype,) = struct.unpack_from(">H", frame, 12)
    if ethertype != _ETHERTYPE_IPV4:
        raise ValueError(f"unexpected ethertype {ethertype:#x}")
    packet = frame[14:]
    (total_length,) = struct.unpack_from(">H", packet, 2)
    (fragment,) = struct.unpack_from(">H", packet, 6)
    if fragment & 0x3FFF:  # "more fragments", or an offset
        raise ValueError("a fragment of an IP packet: these captures are known to have none")
    if packet[9] == _IPPROTO_IGMP:
        return None
    if packet[9] != _IPPROTO_UDP:
        raise ValueError(f"unexpected IP protocol {packet[9]}")
    header_size = (packet[0] & 0x0F) * 4
    source_port, target_port, udp_length, _ = struct.unpack_from(">HHHH", packet, header_size)
    if header_size + udp_length != total_length:
        raise ValueError("UDP and IP lengths disagree")
    source, target = (".".join(map(str, packet[i : i + 4])) for i in (12, 16))
    return Datagram((source, source_port), (target, target_port), packet[header_size + 8 : total_length])
