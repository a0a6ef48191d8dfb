"""SAM, the availability manager: starts applications, watches them, restarts what crashes, hangs or declares failure.

It knows everything about application processes and nothing about the ring. A missing sam is no reason for a node to
leave the ring.

__main__      command line
process       connects the parts, and runs the loop
loop          descriptors, ZeroMQ sockets, and a tick
clock         a clock that stands still while SAM does not run
requests      what clients may ask, and who may
arguments     the arguments of requests, and their bounds
quotas        what each user may take
manager       the life of applications
application   one application: its state, and what is due
table         its files in the state directory
past          applications that are over
outputs       reading the applications' output
checks        health checks by an executable
health        health messages in a FIFO
hearing       the effect of health messages
quorum_watch  how SAM learns of quorum
quorum_policy which applications wait for quorum, and what follows its loss
process_keys  the watched processes in cmap
adoption      processes that are not children of the keeper
reconcile     comparing records and processes after a restart
spec          what the keeper needs to start an application, and the paths of its files
keeper_link   SAM's side of the keeper
keeper/       the parent of the applications
procs         what /proc tells
signals       signals to applications, with the owner's rights
last_words    the goodbye for a totem that was killed
held_ports    its UDP ports, kept open for the next one
"""
