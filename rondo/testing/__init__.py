"""Real clusters for tests: hosts in network namespaces, nodes, faults."""
