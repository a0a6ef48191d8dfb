"""The services of a Rondo node. They never import each other; what they share lives in `rondo`.

An application may have a directory `services` of its own, without `__init__.py`: what is in there comes first. The
processes of a node see none of that (`rondo.node.isolated`).
"""

import pkgutil

_own = list(__path__)
__path__ = [each for each in pkgutil.extend_path(list(__path__), __name__) if each not in _own] + _own
