"""A program that records the UDP frames of a bridge in a pcap file, until SIGTERM; it runs in the switch of a lab.

    python recorder.py INTERFACE FILE

It says `recording` when it does. Fragments of UDP datagrams are recorded as the fragments they are. The frames are
those that entered the bridge, whether or not a fault then dropped them on their way out. A frame the kernel had no
room for is not lost in silence: the last line written is `lost N`, and the exit status is 1 unless N is 0.

The kernel writes the frames into a ring of slots that this process has mapped (packet_mmap, TPACKET_V2), because that
may be as large as one likes: a socket's buffer may not, for root of a user namespace, and on a busy machine four
megabytes of jumbo frames were there before this process was.
"""

import mmap
import select
import signal
import socket
import struct
import sys
from types import FrameType
from typing import BinaryIO

ETHERTYPE_ALL = 0x0003
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
ETHERNET_HEADER_SIZE = 14
PROTOCOL_UDP = 17
PROTOCOL_IPV6_FRAGMENT = 44

# From linux/if_packet.h; the socket module has no names for them.
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_RX_RING = 5
PACKET_STATISTICS = 6
PACKET_VERSION = 10
PACKET_MR_PROMISC = 1
TPACKET_V2 = 1
SLOT_IS_OURS = 1
SLOT_HEADER = struct.Struct("=IIIHHII")
"""status, length, captured, where the frame begins, where its packet begins, seconds, nanoseconds"""

PCAP_MAGIC_NANOSECONDS = 0xA1B23C4D
PCAP_LINK_ETHERNET = 1
FRAME_SIZE_MAX = 65536
SLOT_SIZE = 16 * 1024
"""Room for a jumbo frame."""
SLOTS = 8192
"""With 4096, 654 frames found no slot on two cores that compiled and ran other tests meanwhile."""
BLOCK_SIZE = 1024 * 1024
NANOSECONDS_PER_SECOND = 1_000_000_000


class Recorder:
    """A packet socket on the interface, and the file it is emptied into."""

    def __init__(self, interface: str, output: BinaryIO) -> None:
        self._output = output
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
        size = SLOTS * SLOT_SIZE
        ring = struct.pack("=IIII", BLOCK_SIZE, size // BLOCK_SIZE, SLOT_SIZE, SLOTS)
        self._socket.setsockopt(SOL_PACKET, PACKET_RX_RING, ring)
        self._ring = mmap.mmap(self._socket.fileno(), size)
        self._next = 0
        self._cut = 0
        """Frames that had no room in a slot."""
        # A bridge hands a copy of every frame that it forwards to its own device while that is promiscuous.
        membership = struct.pack("=iHH8s", socket.if_nametoindex(interface), PACKET_MR_PROMISC, 0, b"")
        self._socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
        self._socket.bind((interface, ETHERTYPE_ALL))
        self._output.write(
            struct.pack("=IHHiIII", PCAP_MAGIC_NANOSECONDS, 2, 4, 0, 0, FRAME_SIZE_MAX, PCAP_LINK_ETHERNET)
        )

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Record what has arrived."""
        ring = self._ring
        while True:
            slot = self._next * SLOT_SIZE
            status, size, captured, begin, _, seconds, nanoseconds = SLOT_HEADER.unpack_from(ring, slot)
            if not status & SLOT_IS_OURS:
                return
            frame = ring[slot + begin : slot + begin + captured]
            self._cut += captured < size
            if is_udp(frame):
                self._output.write(struct.pack("=IIII", seconds, nanoseconds, captured, size) + frame)
            struct.pack_into("=I", ring, slot, 0)
            self._next = (self._next + 1) % SLOTS

    def lost(self) -> int:
        """Return how many frames did not fit into the ring since this was asked last, or into a slot."""
        _received, dropped = struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        return int(dropped) + self._cut


def is_udp(frame: bytes) -> bool:
    """Whether an Ethernet frame holds UDP over IPv4 or IPv6, or a fragment of it."""
    ethertype = int.from_bytes(frame[12:14])
    packet = frame[ETHERNET_HEADER_SIZE:]
    if ethertype == ETHERTYPE_IPV4 and len(packet) >= 20:
        return packet[9] == PROTOCOL_UDP
    if ethertype == ETHERTYPE_IPV6 and len(packet) >= 48:
        return packet[6] == PROTOCOL_UDP or (packet[6] == PROTOCOL_IPV6_FRAGMENT and packet[40] == PROTOCOL_UDP)
    return False


def record(interface: str, path: str) -> int:
    """Record until SIGTERM; return the exit status."""
    wake_receiver, wake_sender = socket.socketpair()

    def stop(number: int, frame: FrameType | None) -> None:
        wake_sender.send(b".")

    signal.signal(signal.SIGTERM, stop)
    with open(path, "wb") as output:
        recorder = Recorder(interface, output)
        print("recording", flush=True)
        while True:
            readable, _, _ = select.select([recorder.fileno(), wake_receiver.fileno()], [], [])
            recorder.drain()
            if wake_receiver.fileno() in readable:
                break
    lost = recorder.lost()
    print(f"lost {lost}", flush=True)
    return 0 if lost == 0 else 1


if __name__ == "__main__":
    sys.exit(record(sys.argv[1], sys.argv[2]))
