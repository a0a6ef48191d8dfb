"""An attacker in a host of a lab: sends the datagrams of a recording again, to where they went.

    python -m tests.cluster.replayer RECORDING.pcap OWN_ADDRESS

It prints how many it has sent.
"""

import socket
import sys
import time
from pathlib import Path

from tests.cluster.capture import read_datagrams

BATCH, PAUSE_S = 20, 0.01


def main() -> None:
    path, own_address = sys.argv[1:]
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind((own_address, 0))
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own_address))
        for datagram in read_datagrams(Path(path)):
            out.sendto(datagram.payload, (datagram.destination, datagram.destination_port))
            sent += 1
            if sent % BATCH == 0:
                time.sleep(PAUSE_S)
    print(sent)


if __name__ == "__main__":
    main()
