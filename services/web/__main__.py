"""The page of a node, with its metrics and events. Started by `rondo start` where corosync.conf has web{}.

    python -m services.web -c corosync.conf --run-dir /run/rondo
    python -m services.web --status --run-dir /run/rondo

`rondo web` does the same in the foreground, without a configuration.

Exit codes: 0 stopped by SIGTERM or SIGINT; 2 wrong usage; 8 the configuration cannot be used, or a package is missing;
15 something that it needs cannot be had (a socket, a directory); 18 it runs already.
"""

import sys

from rondo.config.node import NodeConfigError
from rondo.node.exit_codes import EXIT_OK
from rondo.node.service import Service, Start, main


def run(start: Start) -> int:
    """Serve until SIGTERM or SIGINT."""
    try:
        from services.web import process
    except ModuleNotFoundError as error:
        raise NodeConfigError(f"the package {error.name} is missing; pip install 'rondo[web]'") from None
    process.Process(start).run()
    return EXIT_OK


SERVICE = Service("web", __doc__, run, run_dir="sockets and locks")

if __name__ == "__main__":
    sys.exit(main(SERVICE))
