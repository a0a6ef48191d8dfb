"""Recording what goes over the network of a lab, and reading it back as UDP datagrams.

`with Capture(lab) as capture: ...` records; afterwards `capture.datagrams()` has every datagram that was sent, in
order, IP fragments put together, so that what a node sends can be held against the wire format. The pcap file stays
in the switch's directory for other tools.
"""

import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rondo.testing.lab.netns import BRIDGE, Lab
from rondo.testing.lab.waiting import wait_for
from tests.cluster import recorder
from tests.cluster.recorder import ETHERNET_HEADER_SIZE, ETHERTYPE_IPV4, NANOSECONDS_PER_SECOND, PROTOCOL_IPV6_FRAGMENT

if TYPE_CHECKING:
    from rondo.testing.lab.process import Process

START_TIMEOUT_S = 60.0
UDP_HEADER_SIZE = 8


@dataclass(frozen=True)
class Datagram:
    """One UDP datagram as it was sent. `fragments` is 1 if it fitted into one IP packet."""

    time_ns: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes
    fragments: int


class CaptureError(Exception):
    """Frames were lost while recording, or a recording cannot be read."""


class Capture:
    """Records all UDP frames of a lab while its context is open."""

    def __init__(self, lab: Lab, name: str = "capture") -> None:
        self._lab = lab
        self._name = name
        self._process: Process | None = None
        self.path = lab.switch.directory / f"{name}.pcap"

    def __enter__(self) -> Self:
        self._lab.keep_apart(True)
        argv = [sys.executable, recorder.__file__, BRIDGE, str(self.path)]
        self._process = self._lab.switch.start(argv, self._name)
        wait_for(self._process.output, lambda text: "recording" in text, "the recorder's start", START_TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._lab.keep_apart(False)
        status = self._process.terminate()
        if status != 0 and error is None:
            raise CaptureError(f"{self.path}: recorder ended with {status}: {self._process.output().strip()}")

    def datagrams(self, port: int | None = None) -> list[Datagram]:
        """Return what was sent, to `port` if that is given. Only after the context has been left."""
        return [datagram for datagram in read_datagrams(self.path) if port in (None, datagram.destination_port)]


def read_frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the time (nanoseconds since 1970) and the bytes of each frame in a pcap file that the recorder wrote."""
    content = path.read_bytes()
    (magic,) = struct.unpack_from("=I", content)
    if magic != recorder.PCAP_MAGIC_NANOSECONDS:
        raise CaptureError(f"{path}: not a recording of ours (magic {magic:#x})")
    offset = 24
    while offset < len(content):
        seconds, nanoseconds, size, _original = struct.unpack_from("=IIII", content, offset)
        offset += 16
        yield seconds * NANOSECONDS_PER_SECOND + nanoseconds, content[offset : offset + size]
        offset += size


@dataclass
class _Assembly:
    """The fragments of one datagram so far: offset to bytes."""

    time_ns: int
    parts: dict[int, bytes] = field(default_factory=dict)
    size: int | None = None

    def whole(self) -> bytes | None:
        content = b"".join(self.parts[offset] for offset in sorted(self.parts))
        return content if self.size is not None and len(content) == self.size else None


@dataclass(frozen=True)
class _Packet:
    """An IP packet, or a fragment of one, of IPv4 or IPv6."""

    source: str
    destination: str
    identification: int
    offset: int
    more: bool
    body: bytes


def _parse_ipv4(packet: bytes) -> _Packet:
    header_size = (packet[0] & 0x0F) * 4
    total_size, identification, flags = struct.unpack_from("!HHH", packet, 2)
    return _Packet(
        source=socket.inet_ntop(socket.AF_INET, packet[12:16]),
        destination=socket.inet_ntop(socket.AF_INET, packet[16:20]),
        identification=identification,
        offset=(flags & 0x1FFF) * 8,
        more=bool(flags & 0x2000),
        body=packet[header_size:total_size],
    )


def _parse_ipv6(packet: bytes) -> _Packet:
    (size,) = struct.unpack_from("!H", packet, 4)
    header_size, identification, flags = 40, 0, 0
    if packet[6] == PROTOCOL_IPV6_FRAGMENT:
        flags, identification = struct.unpack_from("!HI", packet, 42)
        header_size = 48
    return _Packet(
        source=socket.inet_ntop(socket.AF_INET6, packet[8:24]),
        destination=socket.inet_ntop(socket.AF_INET6, packet[24:40]),
        identification=identification,
        offset=flags & 0xFFF8,
        more=bool(flags & 1),
        body=packet[header_size : 40 + size],
    )


def read_datagrams(path: Path) -> Iterator[Datagram]:
    """Yield the datagrams of a recording, each when its last fragment is seen, with the time of its first."""
    assemblies: dict[tuple[str, str, int], _Assembly] = {}
    for time_ns, frame in read_frames(path):
        parse = _parse_ipv4 if int.from_bytes(frame[12:14]) == ETHERTYPE_IPV4 else _parse_ipv6
        packet = parse(frame[ETHERNET_HEADER_SIZE:])
        key = (packet.source, packet.destination, packet.identification)
        if packet.offset == 0 and not packet.more:
            assembly = _Assembly(time_ns)
        else:
            assembly = assemblies.setdefault(key, _Assembly(time_ns))
        assembly.parts[packet.offset] = packet.body
        if not packet.more:
            assembly.size = packet.offset + len(packet.body)
        content = assembly.whole()
        if content is not None:
            assemblies.pop(key, None)
            source_port, destination_port = struct.unpack_from("!HH", content)
            yield Datagram(
                time_ns=assembly.time_ns,
                source=packet.source,
                source_port=source_port,
                destination=packet.destination,
                destination_port=destination_port,
                payload=content[UDP_HEADER_SIZE:],
                fragments=len(assembly.parts),
            )
