"""`rondo doctor`: what keeps a node from working, or will: where it is, and how to mend it.

Everything here looks and changes nothing. It works with a running node, whose ring can tell the most, and without one.

    finding.py        what is found
    subject.py        what is looked at: the configuration, the machine, the node if it runs
    configuration.py  the file, names, addresses, the key
    machine.py        disk, kernel limits, real time, compiled modules
    clock.py          the clock, against the kernel's knowledge of it and against other nodes
    ports.py          ports that others have
    ruleset.py        what the rules of a firewall do to a packet (no I/O)
    firewall.py       this machine's rules, in both directions
    reach.py          whether other nodes answer, and to packets of full size
    ping.py           ICMP echo and timestamps
    running.py        processes, other nodes, the token time-out against what was measured
    examine.py        all of them, the worst first
"""
