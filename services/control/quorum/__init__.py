"""Quorum: who may act when the cluster is split. Corosync's votequorum, byte for byte, without I/O.

settings     what the configuration asks for, checked and corrected by Corosync's rules
wire         the four messages between nodes
nodes        the table of nodes, and the arithmetic over it
votequorum   the state machine: rules, sync, messages, commands
nodelist     the quorum service proper (service 3): who came and who went, and whether there is quorum
events       what clients are told
"""
