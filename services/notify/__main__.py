"""Tells a command or a webhook what happens. Started by `rondo start` where corosync.conf has notify{}.

    python -m services.notify -c corosync.conf --run-dir /run/rondo
    python -m services.notify --status --run-dir /run/rondo

Exit codes: 0 stopped by SIGTERM or SIGINT; 2 wrong usage; 8 the configuration cannot be used; 15 something that it
needs cannot be had (a socket, a directory); 18 it runs already.
"""

import sys

from rondo.node.exit_codes import EXIT_OK
from rondo.node.service import Service, Start, main
from services.notify import process


def run(start: Start) -> int:
    """Serve until SIGTERM or SIGINT."""
    process.Process(start).run()
    return EXIT_OK


SERVICE = Service(process.SERVICE, __doc__, run, run_dir="sockets and locks, and how far it has got")

if __name__ == "__main__":
    sys.exit(main(SERVICE))
