"""Exit codes of the services. supervisord's plugin, and whoever starts a service by hand, can tell the reasons apart.

They follow Corosync's own error numbers where those have the same meaning (`corosync -h`).
"""

EXIT_OK = 0
"""Stopped by SIGTERM or SIGINT."""
EXIT_NOT_ANSWERED = 1
"""`--status`: no instance answered."""
EXIT_KILLED = 5
"""Another node has made this one leave (`rondo kill`). The node stops, and stays stopped until somebody starts it."""
EXIT_SHUT_DOWN = 6
"""The node was asked to stop, and nobody objected."""
EXIT_CONFIGURATION = 8
"""A resource that the service needs is not available: a socket, a port, a directory."""
EXIT_FATAL = 15
"""Something that it needs cannot be had: a socket, a port, a directory."""
EXIT_RUNNING = 18
"""The service runs already."""
