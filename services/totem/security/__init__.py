"""The security of packets between nodes: what leaves is sealed, what comes is opened or refused.

No I/O in here: datagrams, the time and randomness are arguments; what is to be sent and said is left in lists for the
host. docs/SECURITY.md has the envelope, the reasons of each choice, and what is and is not protected.

    envelope.py     the 40 bytes in front of every packet
    suites.py       how a packet is encrypted and authenticated, by name of cipher and hash
    keys.py         the keys in force, and the keys of each sender derived from them
    replay.py       the window that refuses what came before
    challenge.py    the question whether a sender is alive, and what waits for the answer
    peers.py        what is remembered of one sender
    forward.py      keys of forward secret rings: what is derived from what
    agreement.py    how the members of a ring come to its secret
    ring_keys.py    the secrets of the rings that this node is in, and their epochs
    guard.py        nothing of such a ring is taken that is sealed with the key of the cluster alone
    marks.py        what tells true segments of large packets from false ones
    allowance.py    how often others may have this node do something
    complaints.py   which refusals are worth a log line
    sealer.py, opener.py    the two ends
"""
