"""Exit codes of the four services, which supervisord's plugin and whoever starts one by hand can tell apart.

They follow Corosync's own numbers of errors where those say the same (spec of its interface, `corosync -h`).
"""

EXIT_OK = 0
"""Stopped by SIGTERM or SIGINT."""
EXIT_NOT_ANSWERED = 1
"""`--status` found nobody to ask."""
EXIT_KILLED = 5
"""Another node has had this one leave (`rondo kill`): the node stops, and stays so until somebody starts it."""
EXIT_SHUT_DOWN = 6
"""The node was asked to stop, and nobody objected: it does."""
EXIT_CONFIGURATION = 8
"""The configuration cannot be used: starting it again would not help, so supervisord does not."""
EXIT_FATAL = 15
"""Something that it needs cannot be had: a socket, a port, a directory."""
EXIT_RUNNING = 18
"""It runs already."""
