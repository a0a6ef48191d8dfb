"""Datagrams between nodes: sockets, addresses, segments, and the notices that Rondo nodes exchange outside the ring."""
