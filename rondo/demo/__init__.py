"""`rondo demo`: several nodes on this machine, a replicated ledger on each, one node killed and brought back.

    cluster      the nodes: directories, configuration, start, kill -9, stop
    application  one process of examples/replicated_ledger.py, and its output
    network      a separate network, which can be cut
    proof        checks that all ledgers are equal, nothing is lost or done twice, and no money came or went
    story        the course of the demo, with its commentary

replicated_ledger.py here is the one in examples/.
"""
