"""The security of packets between nodes: seals packets that leave, and opens or refuses packets that come.

No I/O in here: datagrams, the time and randomness are arguments. Replies and log lines are left in lists for the host.
docs/SECURITY.md has the envelope, the reason for each choice, and what is and is not protected.

    envelope.py     the 40 bytes in front of every packet
    suites.py       how a packet is encrypted and authenticated, by name of cipher and hash
    keys.py         the keys in force, and the keys of each sender derived from them
    replay.py the window that refuses packets that came before
    challenge.py challenges to senders, and packets that wait for the answer
    peers.py the state of each sender
    forward.py derivation of the keys of forward secret rings
    agreement.py how the members of a ring agree on its secret
    ring_keys.py    the secrets of the rings that this node is in, and their epochs
    guard.py refuses packets of such a ring that are sealed with the cluster key alone
    marks.py the marks that tell genuine segments of large packets from forged ones
    allowance.py rate limits for work that others can ask for
    complaints.py   which refusals are worth a log line
    sealer.py, opener.py seal and open packets
"""
