"""Quorum: which side of a split cluster may act. Corosync's votequorum, byte for byte, without I/O.

settings     the configuration, checked and corrected by Corosync's rules
wire         the four messages between nodes
nodes        the table of nodes, and the vote arithmetic
votequorum   the state machine: rules, sync, messages, commands
nodelist     the quorum service proper (service 3): which nodes joined and left, and whether there is quorum
events       the events for clients
"""
