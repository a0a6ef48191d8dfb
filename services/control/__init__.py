"""The control plane of a node: keys (`cmap`), votes (`quorum`), and what is done to nodes (`cfg`)."""
