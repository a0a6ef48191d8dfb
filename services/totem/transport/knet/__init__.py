"""Transport `knet`: kronosnet's wire, version 1, in Rondo's own code. C Corosync nodes take it for one of theirs.

No I/O in here: datagrams, the time and randomness are arguments; what is to be sent and said is left in lists for the
host, which is `services.totem.transport.knet_link` or a test.

    knet.py          all hosts of a node: what a frame becomes, what a datagram is, timers
    effects.py       what it leaves for its host
    remote_host.py   one other node: its links, which of them carries data, and when they are doubted
    peer_link.py     one link to it: pings and pongs, up and down
    path_mtu.py      the largest datagram that passes a link
    fragments.py     frames cut, and put together again
    numbers.py       data numbers: the sender's, and the receiver's window of duplicates
    crypto.py        how a packet is encrypted and authenticated
    keyring.py       several keys at once, while the key is changed
    compression.py   frames compressed
    format.py        bytes to fields and back
    link_options.py  what is configured
"""
