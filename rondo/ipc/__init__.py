"""How envelopes travel between the processes of a node: Router and Dealer, and the control sockets.

router, dealer                what the two ends do, whichever way it goes
local_router, local_dealer    on the sockets of this machine: ZMTP (`zmtp`, `stream`) in the calling thread
remote_router, remote_dealer  to other hosts: libzmq, over TCP with CURVE
bounds                        what a user may take of a local router
trust                         who listens there is the node, or nobody
endpoints                     the addresses of sockets
control, zmq_sockets          a service is asked for its state; libzmq's sockets for that
surveyor                      many are asked at once
doorbell                      who waits for a node that is away is told when it comes
"""
