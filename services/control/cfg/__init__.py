"""Corosync's cfg: kills nodes, shuts the node down if no tracker objects, and reloads the configuration.

wire the messages between nodes shutdown the programs that are asked before the node stops, and their answers
"""
