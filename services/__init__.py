"""The services of a Rondo node. They never import each other; what they share lives in `rondo`."""

import rondo as rondo  # which decides whether the modules of this package come compiled
