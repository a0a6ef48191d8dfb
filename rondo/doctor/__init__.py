"""`rondo doctor`: finds what keeps a node from working now or soon. Each finding has a place and a remedy.

The checks change nothing. They work with and without a running node. A running one can tell more.

    finding.py        the result of a check
    subject.py        what is examined: the configuration, the machine, the node if it runs
    configuration.py  the file, names, addresses, the key
    machine.py        disk, kernel limits, real time, compiled modules
    clock.py          the clock, compared with the kernel's state and with other nodes
    ports.py          ports that other processes have
    ruleset.py        the effect of firewall rules on a packet (no I/O)
    legacy.py         rules of the older iptables, in the form of nft's (no I/O)
    firewall.py       this machine's rules, in both directions
    reach.py          whether other nodes answer, also to packets of full size
    ping.py           ICMP echo and timestamps
    running.py        processes, other nodes, the token timeout compared with measured rotations
    examine.py        all checks, the worst result first
"""
