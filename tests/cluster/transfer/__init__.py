"""A large state on its way to a node that joins, while commands go on: `make transfer MEGABYTES=1024`.

replica.py  a process with a replica of a large state: counts, or joins
run.py      three nodes, the giver killed in the middle, and what is measured
"""
