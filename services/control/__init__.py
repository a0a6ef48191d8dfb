"""The control plane of a node: keys (`cmap`), votes (`quorum`), and killing, stopping and reloading nodes (`cfg`)."""
