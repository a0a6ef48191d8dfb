"""Hosts on one machine (network namespaces joined by a bridge), nodes of Rondo and of C Corosync in them, and faults.

The tests and the bench use it. It needs root, or user namespaces; `requirements` says what is missing.
"""
