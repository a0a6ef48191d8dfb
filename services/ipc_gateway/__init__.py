"""Client connections: who they are, whether they may, whether they live, and how much they may have in flight.

__main__          command line
process           the loop: one poll, everything else is a call
gateway           what happens on what a client says
sessions          how sessions begin, change hands and end
session_registry  the sessions that there are
from_cpg          what happens on what cpg says
to_cpg            what is said to cpg, and what of it is under way
outboxes          what waits for clients that read slowly
listener          what a socket that clients connect to can be asked
unix_listener     the socket for this machine, with credentials that the kernel vouches for
curve_listener    the socket for other hosts
tcp_relay         the port before it, which bounds what strangers cost
listeners         both sockets as one
remote            clients on other hosts: keys, heartbeats
upstream          the connection to cpg
asking            a connection to a service that answers questions: sam_upstream, control_upstream
keep_warm         messages of its own that keep the way of a message warm
hits              log lines on bounds that were hit
limits            open files
credentials       who a peer is, and who may
"""
