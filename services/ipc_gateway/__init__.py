"""Client connections: who the clients are, whether they may connect, whether they live, what they may have in flight.

__main__          command line
process           the loop around one poll
gateway           handles the clients' envelopes
sessions          how sessions begin, change their connection and end
session_registry  all sessions
from_cpg          handles cpg's envelopes
to_cpg            sends envelopes to cpg
outboxes          queues for clients that read slowly
listener          the interface of the sockets that clients connect to
unix_listener     the socket for this machine, with credentials from the kernel
curve_listener    the socket for other hosts, by libzmq
zap               who may connect from there
tcp_relay         the TCP port in front of it, which bounds what strangers cost
listeners         both sockets as one
remote            clients on other hosts: their numbers, names and place
asking            the connection to a service that answers requests: sam_upstream, control_upstream
keep_warm         warm-up messages, which keep the path of a message warm
hits              log lines about bounds that were reached
limits            open files
credentials       who a peer is, and who may connect
"""
