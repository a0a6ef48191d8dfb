"""Clusters in network namespaces, ready to be measured. The laboratory is the one of the tests (tests/cluster)."""
