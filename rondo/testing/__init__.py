"""For tests of applications: `Loopback`, a cluster in one process, and `rondo_cluster`, a cluster of real nodes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rondo.testing.cluster import TestCluster, TestNode, Unsupported, rondo_cluster
    from rondo.testing.loopback import Loopback

__all__ = ["Loopback", "TestCluster", "TestNode", "Unsupported", "rondo_cluster"]

_PLACES = {"Loopback": "rondo.testing.loopback"} | dict.fromkeys(__all__[1:], "rondo.testing.cluster")


def __getattr__(name: str) -> Any:
    """Load what is asked for (PEP 562): the lab does without the doubles."""
    if name not in _PLACES:
        raise AttributeError(f"module 'rondo.testing' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
