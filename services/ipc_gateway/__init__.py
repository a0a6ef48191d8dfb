"""Client connections: who they are, whether they may, whether they live, and how much they may have in flight.

__main__      command line
process       the loop: one poll, everything else is a call
gateway       what happens on what a client or cpg says
table         the sessions there are
front         the socket that clients connect to, with credentials that the kernel vouches for
remote        clients on other hosts: keys, heartbeats
doors         both sockets as one
upstream      the connection to cpg
sam_upstream  the way to SAM
limits        open files
credentials   who a peer is, and who may
"""
