"""Corosync's cfg: nodes are killed, the node is shut down if nobody objects, and the configuration is read anew.

wire        the messages between nodes
shutdown    who is asked before the node stops, and what they answer
"""
