"""The cpg service: process groups on top of the ring. Started by `rondo start`, or by hand for a look at it alone.

    python -m services.cpg -c corosync.conf --run-dir /run/rondo
    python -m services.cpg --status --run-dir /run/rondo

It waits for totem, and takes up where a killed predecessor was.
Exit codes: 0 stopped by SIGTERM or SIGINT; 2 wrong usage; 8 the configuration cannot be used; 15 something that it
needs cannot be had (a socket, a directory); 18 it runs already.
"""

import sys

from rondo.node.service import Service, Start, main
from services.cpg.process import Process


def run(start: Start) -> int:
    """Serve until SIGTERM or SIGINT."""
    return Process(start).run()


SERVICE = Service("cpg", __doc__, run, run_dir="sockets and locks")

if __name__ == "__main__":
    sys.exit(main(SERVICE))
