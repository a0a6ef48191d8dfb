"""The ring on this node, and the log of the messages that it has ordered.

process       the loop: timers, datagrams, the bus, the link's address
node          connects the ring: its packets go to the link, its events to the log
ring/         the protocol, without I/O
wire/         the wire format between nodes
transport/    sockets and addresses: udp, udpu, knet
security/     sealing and opening packets; protection connects it to the sockets
ordered_log   the log for cpg; control_reader: the part of it that control reads
bus           cpg's socket; control_bus: control's
backpressure  slows the ring down while cpg does not keep up; full_log: when the node has to leave the ring
suspicion     members that may be dead; strangers: nodes that are refused; absence: nodes that are missing
last_words    the leave that sam sends if this process is killed
settings      from the node's configuration to the ring's options
"""
