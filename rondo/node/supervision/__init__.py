"""How the processes of one node are started, kept, found and stopped; what `rondo start`, `stop`, `status` are made of.

supervisord (config/supervisord.conf) starts the services and starts again what dies. `plugin` runs inside it, counts
the restarts and stops the node when a service is beyond help. Everything else here runs in the commands:

    launch     start a node, and tell whether it came up
    halt       stop one, with whatever is left of it
    processes  find a node's processes, whether or not their supervisord still lives
    c_programs whether qb_gateway is started, and why not
    optional   which services are started at all, and why the others are not
    survey     ask all services at once; what `rondo status` prints
    logfiles   the logs of all services as one, ordered by time
"""

SERVICES = ("totem", "cpg", "control", "ipc_gateway", "qb_gateway", "web", "notify", "sam")
"""The services of a node, in the order of the way of a message from the network to the application; sam, which has the
applications, is last. Each has its section in config/supervisord.conf. They are stopped in the reverse order."""

DISPENSABLE = ("sam", "qb_gateway", "web", "notify")
"""Without these a node does the rest of its work: they are never a reason to stop it."""

C_PROGRAMS = "qb_gateway"
"""The one that is there only where it has something to do (`c_programs`)."""

OPTIONAL = (C_PROGRAMS, "web", "notify")
"""Those that are started only where something says so (`optional`)."""

BESIDE = ("web", "notify")
"""Those that only look: a start does not wait for them, and succeeds without them."""

SUPERVISOR_SOCKET = "sv.sock"
RESOLVED_CONFIGURATION = "node.msgpack"
"""The configuration that `rondo start` has resolved for the services, in the run directory."""
