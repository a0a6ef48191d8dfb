"""The SAM service: starts and watches applications. Started by `rondo start`, or by hand to look at it alone.

    python -m services.sam -c corosync.conf --run-dir /run/rondo
    python -m services.sam --status --run-dir /run/rondo

It needs neither the ring nor clients to work, and continues where a killed predecessor was. Exit codes: 0 stopped by
SIGTERM or SIGINT; 2 wrong usage; 8 the configuration cannot be used; 15 a resource that it needs is not available (a
socket, a directory); 18 it runs already.
"""

import sys

from rondo.node.exit_codes import EXIT_OK
from rondo.node.service import Service, Start, main
from services.sam import process


def run(start: Start) -> int:
    """Serve until SIGTERM or SIGINT."""
    process.Process(start).run()
    return EXIT_OK


SERVICE = Service(
    process.SERVICE,
    __doc__,
    run,
    run_dir="sockets, locks, applications' output",
    state_dir="the table of applications",
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
