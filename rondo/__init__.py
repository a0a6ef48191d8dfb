"""Rondo for applications: process groups with one order of messages and membership changes on all nodes.

    import rondo

    with rondo.connect() as cluster:
        group = cluster.cpg.join("bank")
        group.mcast(b"deposit 10", guarantee=rondo.Guarantee.SAFE)
        for event in group:
            match event:
                case rondo.Message(sender=who, data=data): ...
                case rondo.Membership(members=now, joined=came, left=gone): ...

`rondo.aio` has the same for asyncio. Importing `rondo` is cheap: modules are loaded when a name of theirs is first
used. So the services and the commands, which are in this package too, do not load the client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rondo import aio, cmap, quorum, sam
    from rondo._client.cfg import ShutdownRequest
    from rondo._client.connect import connect
    from rondo._client.connection import Cluster, Group
    from rondo._client.outcome import Request
    from rondo.errors import (
        AccessDenied,
        BadFlags,
        BadHandle,
        BadOperation,
        Busy,
        ContextNotFound,
        Disconnected,
        Error,
        Exists,
        FailedOperation,
        Interrupted,
        InvalidParameter,
        MessageError,
        NameNotFound,
        NameTooLong,
        NoMemory,
        NoQuorum,
        NoResources,
        NoSections,
        NoSpace,
        NotExist,
        NotInitialized,
        NotSupported,
        QueueFull,
        QueueNotAvailable,
        SecurityError,
        Timeout,
        TooBig,
        TooManyGroups,
        TryAgain,
        VersionMismatch,
    )
    from rondo.events import (
        Change,
        Configuration,
        ConnectionChange,
        ConnectionEvent,
        ConnectionState,
        Event,
        Member,
        Membership,
        Message,
        Reason,
        Reconnected,
        Resumed,
        Ring,
        RingChange,
        SlowConsumer,
        Suspended,
        UnknownOutcome,
    )
    from rondo.protocol.requests import Guarantee
    from rondo.retry import RetryPolicy

__version__ = "0.1.0"
"""The version of the release; pyproject.toml reads it here."""

__all__ = [
    "AccessDenied",
    "BadFlags",
    "BadHandle",
    "BadOperation",
    "Busy",
    "Change",
    "Cluster",
    "Configuration",
    "ConnectionChange",
    "ConnectionEvent",
    "ConnectionState",
    "ContextNotFound",
    "Disconnected",
    "Error",
    "Event",
    "Exists",
    "FailedOperation",
    "Group",
    "Guarantee",
    "Interrupted",
    "InvalidParameter",
    "Member",
    "Membership",
    "Message",
    "MessageError",
    "NameNotFound",
    "NameTooLong",
    "NoMemory",
    "NoQuorum",
    "NoResources",
    "NoSections",
    "NoSpace",
    "NotExist",
    "NotInitialized",
    "NotSupported",
    "QueueFull",
    "QueueNotAvailable",
    "Reason",
    "Reconnected",
    "Request",
    "Resumed",
    "RetryPolicy",
    "Ring",
    "RingChange",
    "SecurityError",
    "ShutdownRequest",
    "SlowConsumer",
    "Suspended",
    "Timeout",
    "TooBig",
    "TooManyGroups",
    "TryAgain",
    "UnknownOutcome",
    "VersionMismatch",
    "aio",
    "cmap",
    "connect",
    "quorum",
    "sam",
]

_EVENTS = (
    "Change",
    "Configuration",
    "ConnectionChange",
    "ConnectionEvent",
    "ConnectionState",
    "Event",
    "Member",
    "Membership",
    "Message",
    "Reason",
    "Reconnected",
    "Resumed",
    "Ring",
    "RingChange",
    "SlowConsumer",
    "Suspended",
    "UnknownOutcome",
)
_PLACES = {
    "aio": "rondo.aio",
    "cmap": "rondo.cmap",
    "quorum": "rondo.quorum",
    "sam": "rondo.sam",
    "connect": "rondo._client.connect",
    "ShutdownRequest": "rondo._client.cfg",
    "Guarantee": "rondo.protocol.requests",
    "RetryPolicy": "rondo.retry",
    **dict.fromkeys(("Cluster", "Group"), "rondo._client.connection"),
    "Request": "rondo._client.outcome",
    **dict.fromkeys(_EVENTS, "rondo.events"),
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'rondo' has no attribute {name!r}")
    module = import_module(_PLACES.get(name, "rondo.errors"))
    value = module if name in ("aio", "cmap", "quorum", "sam") else getattr(module, name)
    globals()[name] = value
    return value
