"""`rondo demo`: several nodes on this machine, a replicated ledger on each, one node killed and brought back.

    cluster      the nodes: directories, configuration, start, kill -9, stop
    application  one process of examples/replicated_ledger.py, and what it says
    network      a network of its own, which can be cut
    proof        are all ledgers equal, is nothing lost or done twice, is the money still there
    story        what happens, in order, told while it happens

replicated_ledger.py here is the one in examples/.
"""
