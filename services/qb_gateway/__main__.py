"""The gateway for C programs, to which libcpg connects. Started by `rondo start`, or by hand to look at it.

    python -m services.qb_gateway -c corosync.conf --run-dir /run/rondo
    python -m services.qb_gateway --status --run-dir /run/rondo

Exit codes: 0 stopped by SIGTERM or SIGINT; 2 wrong usage; 8 the configuration cannot be used; 15 a resource that it
needs is not available (a socket, a directory); 18 it runs already.
"""

import sys

from rondo.node.exit_codes import EXIT_OK
from rondo.node.service import Service, Start, main
from services.qb_gateway import process


def run(start: Start) -> int:
    """Serve until SIGTERM or SIGINT."""
    process.Process(start).run()
    return EXIT_OK


SERVICE = Service(process.SERVICE, __doc__, run, run_dir="sockets and locks")

if __name__ == "__main__":
    sys.exit(main(SERVICE))
