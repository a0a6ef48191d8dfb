"""The four services of a Rondo node. They never import each other; what they share lives in `rondo`."""
