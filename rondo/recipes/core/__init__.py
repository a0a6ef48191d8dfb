"""Replication over one process group, without I/O: events, the time and commands in; messages, results and notices out.

`replica.py` says how it works. It knows nothing of sockets, threads, clocks or randomness: those are the shells'
business (`rondo.recipes`, `rondo.aio.recipes`).
"""
