"""The totem service: this node's end of the ring. Started by `rondo start`, or by hand for a look at it alone.

    python -m services.totem -c corosync.conf --run-dir /run/rondo --state-dir /var/lib/rondo
    python -m services.totem --status --run-dir /run/rondo

When it is stopped it leaves the ring first.
Exit codes: 0 stopped by SIGTERM or SIGINT; 2 wrong usage; 5 another node has had this one leave; 8 the configuration
cannot be used; 15 something that it needs cannot be had (a port, a directory); 18 it runs already.
"""

import sys

from rondo import paths
from rondo.node.exit_codes import EXIT_KILLED
from rondo.node.service import Service, Start, main
from services.totem.process import EvictedError, Process
from services.totem.protection import make_protection
from services.totem.transport.sockets import CannotBind


def run(start: Start) -> int:
    """Be a member of the ring until SIGTERM or SIGINT."""
    paths.socket_endpoint(start.run_dir, "totem.sock")
    protection = make_protection(start.config, start.state_dir)
    if protection is not None:
        protection.announce()
    try:
        return Process(start, protection).run()
    except EvictedError as error:
        # After everything else, for supervisord takes the last line for the reason.
        print(f"totem: {error}", file=sys.stderr)
        return EXIT_KILLED


SERVICE = Service(
    "totem",
    __doc__,
    run,
    run_dir="sockets and locks",
    state_dir="the ring sequence",
    lacking=(CannotBind,),
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
