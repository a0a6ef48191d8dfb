"""The control service: quorum, keys and nodes. Started by `rondo start`, or by hand for a look at it alone.

    python -m services.control -c corosync.conf --run-dir /run/rondo
    python -m services.control --status --run-dir /run/rondo

It waits for totem. After a crash it continues from the state that totem holds. Exit codes: 0 stopped by SIGTERM or
SIGINT; 2 wrong usage; 6 the node was asked to shut down, and does; 8 the configuration cannot be used; 15 something
that it needs cannot be had (a socket, a directory); 18 it runs already.
"""

import sys

from rondo.node.exit_codes import EXIT_CONFIGURATION
from rondo.node.service import Service, Start, main
from services.control.process import Process
from services.control.quorum.settings import SettingsError


def run(start: Start) -> int:
    """Serve until SIGTERM or SIGINT."""
    try:
        return Process(start).run()
    except SettingsError as error:
        print(f"control: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION


SERVICE = Service(
    "control", __doc__, run, run_dir="sockets and locks", state_dir="the highest expected votes ever seen"
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
