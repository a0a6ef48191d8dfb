"""Datagrams between nodes: sockets, addresses, segments, and what neighbours tell each other beside the ring."""
