"""SAM, the availability manager: starts applications, watches them, restarts what crashes, hangs or declares failure.

It knows everything about application processes and nothing about the ring. A missing sam is no reason for a node to
leave the ring.

__main__      command line
process       puts the parts together, and runs the loop
loop          descriptors, ZeroMQ sockets, and a time to come back
clock         time in which SAM was awake
requests      what clients may ask, and who may
arguments     what they send with it, and its bounds
quotas        what each user may take
manager       what happens to applications
application   one application: what there is of it, and what is due
table         its files in the state directory
past          applications that are over
outputs       reading what they wrote
checks        health checks by an executable
health        health by lines in a FIFO
hearing       what that changes
quorum_watch  what control says of quorum
quorum_policy who waits for quorum, and what follows its loss
process_keys  what is shown in cmap
adoption      processes that are not children of the keeper
reconcile     after a restart: what there is
spec          what the keeper is told, and where the files of an application are
keeper_link   SAM's side of the keeper
keeper/       the parent of the applications
procs         what /proc says
signals       signals: to whom, and by whose right
last_words    the goodbye of a totem that was killed
held_ports    its UDP ports, kept open for the next one
"""
