"""The cluster without nodes, that applications test with."""
