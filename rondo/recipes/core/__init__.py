"""Replication over one process group, without I/O.

It takes events, the time and commands, and yields messages, results and notices. Sockets, threads, clocks and
randomness belong to the two shells: `rondo.recipes` for threads, `rondo.aio.recipes` for asyncio. `replica.py` explains
the protocol. The words that all files here use:

    replica      one process's copy of the state, with the protocol around it
    entry        a message or a membership change that changes the state, at its place in the group's total order
    author       the identity of a replica as a client: 12 random bytes; on disk a number of its start follows them
    seat         the first 12 bytes of an author: they identify the process, or its disk
    holder       a member that has the current state of the group
    era          the time between two decisions that the group goes on (Raft's term); eras are ordered
    round        the number of such a decision where states are on disk (Paxos' ballot number)
    fingerprint  era, index and digest of the entries: equal fingerprints mean equal states
    hello        the message by which a member reports what it has, and asks for the state
"""
