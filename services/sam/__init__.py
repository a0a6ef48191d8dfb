"""SAM, the availability manager: starts applications, watches them, restarts what crashes, hangs or declares failure.

It knows everything about application processes and nothing about the ring. A missing sam is no reason for a node to
leave the ring.

__main__      command line
process       the loop: one epoll, everything else is a call
loop          that loop: descriptors, ZeroMQ sockets, and a tick
"""
