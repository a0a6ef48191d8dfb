"""A program that runs inside a host: it sends datagrams, or prints those that it receives.

    python udp_probe.py listen PORT [GROUP OWN_ADDRESS]
    python udp_probe.py send DESTINATION PORT COUNT SIZE OWN_ADDRESS

The listener prints `listening`, then one JSON object a line for each datagram: its source, size and number. A group
that is a multicast address is joined, and sent to, on the interface that has OWN_ADDRESS (IPv6: on eth0).
"""

import contextlib
import json
import socket
import sys
import time

PACE_S = 0.002
BUFFER_BYTES = 4 << 20
"""What a listener that does not come to its turn for a second must not lose. The kernel grants less to who is not root
outside the namespace too, enough for that second at this pace (the default holds 270 small datagrams)."""
SO_RCVBUFFORCE = 33


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(port: int, group: str | None = None, own_address: str = "") -> None:
    """Print what arrives, for ever."""
    family = socket.AF_INET6 if group is None else family_of(group)
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        if family == socket.AF_INET6:
            # Without a group: IPv4 arrives here too, as mapped addresses.
            receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(group is not None))
        for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
            with contextlib.suppress(PermissionError):
                receiver.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        receiver.bind((group or "::", port))
        if group is not None and family == socket.AF_INET6:
            index = socket.if_nametoindex("eth0").to_bytes(4, sys.byteorder)
            membership = socket.inet_pton(family, group) + index
            receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
        elif group is not None:
            membership = socket.inet_aton(group) + socket.inet_aton(own_address)
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        print("listening", flush=True)
        while True:
            data, source = receiver.recvfrom(65536)
            report = {"from": source[0].removeprefix("::ffff:"), "size": len(data), "number": int(data[:8])}
            print(json.dumps(report), flush=True)


def send(destination: str, port: int, count: int, size: int, own_address: str) -> None:
    """Send numbered datagrams, slowly enough for any receiver."""
    family = family_of(destination)
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        if family == socket.AF_INET6:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
        else:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own_address))
        for number in range(count):
            sender.sendto((b"%08d" % number).ljust(size, b"."), (destination, port))
            time.sleep(PACE_S)


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        listen(int(sys.argv[2]), *sys.argv[3:])
    else:
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
