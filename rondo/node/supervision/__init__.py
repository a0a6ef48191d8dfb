"""Starting, supervising, finding and stopping the processes of one node; behind `rondo start`, `stop` and `status`.

supervisord (config/supervisord.conf) starts the services and restarts those that die. `plugin` runs inside it, counts
the restarts and stops the node when a service fails for good. Everything else here runs in the commands:

    launch     starts a node, and tells whether it came up
    halt       stops a node, including processes that a killed supervisord left
    processes  finds a node's processes, whether or not their supervisord lives
    c_programs decides whether qb_gateway is started
    optional   decides which services are started at all
    survey     asks all services at once, for `rondo status`
    logfiles   merges the logs of all services by time
"""

SERVICES = ("totem", "cpg", "control", "ipc_gateway", "qb_gateway", "web", "notify", "sam")
"""The services of a node, in the order of a message's way from the network to the application. sam comes last, because
it runs the applications. Each has its section in config/supervisord.conf. They are stopped in the reverse order."""

DISPENSABLE = ("sam", "qb_gateway", "web", "notify")
"""The node works without these services: they are never a reason to stop it."""

C_PROGRAMS = "qb_gateway"
"""The service that is started only if C programs are expected (`c_programs`)."""

OPTIONAL = (C_PROGRAMS, "web", "notify")
"""The services that are started only under a condition (`optional`)."""

BESIDE = ("web", "notify")
"""Services that only observe: a start does not wait for them, and succeeds without them."""

SUPERVISOR_SOCKET = "sv.sock"
RESOLVED_CONFIGURATION = "node.msgpack"
"""The configuration as `rondo start` has resolved it for the services, in the run directory."""
