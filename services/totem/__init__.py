"""The node's end of the ring, and the log of what the ring has ordered.

process       the loop: timers, datagrams, the bus, the link's address
node          the ring in its surroundings: its packets go to the link, its events to the log
ring/         the protocol, without I/O
wire/         the bytes between nodes
transport/    sockets and addresses: udp, udpu, knet
security/     sealing and opening packets; protection: the same at the sockets
ordered_log   the log for cpg; control_reader: what control is given of it
bus           cpg's socket; control_bus: control's
backpressure  slows the ring down while cpg does not keep up; full_log: when the node has to leave it
suspicion     members that may be dead; strangers: who is refused; absence: who is missing
last_words    what sam is to send when this process was killed
settings      from the node's configuration to the ring's options
"""
