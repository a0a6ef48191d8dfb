"""The errors of a client: one exception for each error code of Corosync (`cs_error_t`, corosync/corotypes.h).

Every one is a `rondo.Error`, has the number as `.code`, and tells in one line what was wrong. A programmer who knows
libcpg finds the same numbers:

    try:
        cluster.cpg.join("bank")
    except rondo.Exists:
        ...
    except rondo.Error as error:
        sys.exit(f"cannot join: {error} (code {error.code})")

Three are also the exceptions that Python has for the purpose: `Timeout` is a TimeoutError, `Disconnected` a
ConnectionError, `AccessDenied` a PermissionError. So all three are OSErrors, without an `errno`, and `except OSError`
catches them.
"""
# ruff: noqa: N818 - the names are those of cs_error_t, as documented for users; Timeout reads better than TimeoutError

from typing import ClassVar

CS_OK = 1
"""The code of a successful request."""


class Error(Exception):
    """The cluster refuses a request or cannot do it. `code` is Corosync's number for the reason."""

    code: ClassVar[int] = 2
    meaning: ClassVar[str] = "failed"

    def __init__(self, text: str = "") -> None:
        super().__init__(text or self.meaning)


class Disconnected(Error, ConnectionError):
    """The connection to the cluster was lost. This is an event, and also raised by calls that cannot be done any more.

    As an event: this process is in no group any more, as far as it can know. `Reconnected` follows if the connection
    comes back. As an exception it is final for the call that raised it. `reason` is the cause in one line in both
    cases. (CS_ERR_LIBRARY: the code of libcpg once the executive is gone.)
    """

    code = 2
    meaning = "not connected to the cluster"
    __match_args__ = ("reason",)

    @property
    def reason(self) -> str:
        """Why, in one line."""
        return str(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Disconnected) and other.reason == self.reason

    def __hash__(self) -> int:
        return hash(self.reason)


class VersionMismatch(Error):
    """The two sides have no version of the protocol in common (CS_ERR_VERSION)."""

    code = 3
    meaning = "the other side speaks another version"


class NotInitialized(Error):
    """The service is not ready (CS_ERR_INIT)."""

    code = 4
    meaning = "not initialized"


class Timeout(Error, TimeoutError):
    """The call did not finish in the given time (CS_ERR_TIMEOUT)."""

    code = 5
    meaning = "timed out"


class TryAgain(Error):
    """Flow control: the same call may succeed a moment later (CS_ERR_TRY_AGAIN)."""

    code = 6
    meaning = "try again"


class InvalidParameter(Error):
    """An invalid argument (CS_ERR_INVALID_PARAM)."""

    code = 7
    meaning = "invalid parameter"


class NoMemory(Error):
    """CS_ERR_NO_MEMORY."""

    code = 8
    meaning = "no memory"


class BadHandle(Error):
    """The connection was closed, or was made by another process before a fork (CS_ERR_BAD_HANDLE)."""

    code = 9
    meaning = "bad handle"


class Busy(Error):
    """Another call of the same kind is under way (CS_ERR_BUSY)."""

    code = 10
    meaning = "busy"


class AccessDenied(Error, PermissionError):
    """This user may not connect: he is neither root, nor the executive's own user, nor in uidgid{} (CS_ERR_ACCESS)."""

    code = 11
    meaning = "access denied"


class NotExist(Error):
    """Something does not exist, for example a group that this process has not joined (CS_ERR_NOT_EXIST)."""

    code = 12
    meaning = "does not exist"


class NameTooLong(Error):
    """A group's name has at most 128 bytes (CS_ERR_NAME_TOO_LONG)."""

    code = 13
    meaning = "name too long"


class Exists(Error):
    """It exists already: for example, this process is a member of that group (CS_ERR_EXIST)."""

    code = 14
    meaning = "exists already"


class NoSpace(Error):
    """CS_ERR_NO_SPACE."""

    code = 15
    meaning = "no space"


class Interrupted(Error):
    """CS_ERR_INTERRUPT."""

    code = 16
    meaning = "interrupted"


class NameNotFound(Error):
    """CS_ERR_NAME_NOT_FOUND."""

    code = 17
    meaning = "name not found"


class NoResources(Error):
    """A limit of the node was reached: too many sessions of one process or user (CS_ERR_NO_RESOURCES)."""

    code = 18
    meaning = "no resources"


class NotSupported(Error):
    """CS_ERR_NOT_SUPPORTED."""

    code = 19
    meaning = "not supported"


class BadOperation(Error):
    """CS_ERR_BAD_OPERATION."""

    code = 20
    meaning = "bad operation"


class FailedOperation(Error):
    """CS_ERR_FAILED_OPERATION."""

    code = 21
    meaning = "operation failed"


class MessageError(Error):
    """An envelope could not be understood (CS_ERR_MESSAGE_ERROR)."""

    code = 22
    meaning = "malformed message"


class QueueFull(Error):
    """CS_ERR_QUEUE_FULL."""

    code = 23
    meaning = "queue full"


class QueueNotAvailable(Error):
    """CS_ERR_QUEUE_NOT_AVAILABLE."""

    code = 24
    meaning = "queue not available"


class NoQuorum(FailedOperation):
    """This side of a split may not act. Recipes raise it; the outcome of a command that was sent already is unknown
    (CS_ERR_FAILED_OPERATION)."""

    meaning = "this side has no quorum"


class BadFlags(Error):
    """CS_ERR_BAD_FLAGS."""

    code = 25
    meaning = "bad flags"


class TooBig(Error):
    """A message is larger than `cpg.message_size_max`, 64 MiB unless configured (CS_ERR_TOO_BIG)."""

    code = 26
    meaning = "too big"


class NoSections(Error):
    """CS_ERR_NO_SECTIONS."""

    code = 27
    meaning = "no sections"


class ContextNotFound(Error):
    """CS_ERR_CONTEXT_NOT_FOUND."""

    code = 28
    meaning = "context not found"


class TooManyGroups(Error):
    """CS_ERR_TOO_MANY_GROUPS."""

    code = 30
    meaning = "too many groups"


class SecurityError(Error):
    """The server is not the node, or could be anybody: nothing was sent to it (CS_ERR_SECURITY)."""

    code = 100
    meaning = "security"


BY_CODE: dict[int, type[Error]] = {kind.code: kind for kind in Error.__subclasses__()}
"""The exception of each code."""


def error_of(code: int, text: str = "") -> Error:
    """The exception for `code` with this text. An unknown code becomes a plain `Error`."""
    kind = BY_CODE.get(code)
    return kind(text) if kind is not None else Error(text or f"failed with unknown code {code}")
