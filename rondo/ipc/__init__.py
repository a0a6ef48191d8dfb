"""How envelopes travel between the processes of a node: Router and Dealer, and the control sockets.

router, dealer                the interfaces of the two ends
local_router, local_dealer    on Unix sockets: ZMTP (`zmtp`, `stream`) in the calling thread
remote_router, remote_dealer  to other hosts: libzmq, over TCP with CURVE
bounds                        limits on what a user may take of a local router
trust                         checks that a socket belongs to the node
endpoints                     the addresses of sockets
control, zmq_sockets          querying a service for its state; libzmq's sockets, for remote clients
surveyor                      querying several services at once
doorbell                      wakes clients that wait for an absent node
"""
