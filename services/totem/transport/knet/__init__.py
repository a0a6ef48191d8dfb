"""Transport `knet`: kronosnet's wire format, version 1, in Rondo's own code. C Corosync nodes see no difference.

No I/O in here: datagrams, the time and randomness are arguments. Transmissions and events are left in lists for the
host, which is `services.totem.transport.knet_link` or a test.

    knet.py all hosts of a node: frames to datagrams and back, timers
    effects.py the output for the host
    remote_host.py one other node: its links, which of them carry data, and when they are doubted
    peer_link.py     one link to it: pings and pongs, up and down
    path_mtu.py      the largest datagram that passes a link
    fragments.py cuts frames, and joins them again
    numbers.py       data numbers: the sender's, and the receiver's window of duplicates
    crypto.py encryption and authentication of packets
    keyring.py several valid keys, while the key is changed
    compression.py compression of frames
    format.py packet layouts
    link_options.py configuration
"""
