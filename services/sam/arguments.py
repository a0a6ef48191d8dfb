"""The arguments of requests and their bounds. Clients' input is accepted only in these forms."""

import os
import re
import signal
from typing import Any

from rondo.protocol.codes import Code
from services.sam.application import Command, Policy

DATA_BYTES_MAX = 1024 * 1024
COMMAND_BYTES_MAX = 1024 * 1024
COMMAND_ENTRIES_MAX = 32 * 1024
KEY_BYTES_MAX = 64
INTERVAL_MS_MAX = 24 * 3600 * 1000
NAME_CHARACTERS_MAX = 32
U63_MAX = 2**63 - 1

Arguments = dict[str, Any]


class RefusedError(Exception):
    """The request is refused; `code` tells why."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def value_of(arguments: Arguments, name: str, kind: type[Any], default: Any = None) -> Any:
    """The argument of that name, which must be of this type. Raises RefusedError, as do all functions here."""
    value = arguments.get(name, default)
    if type(value) is not kind:
        raise RefusedError(Code.INVALID_PARAM, f"the request's {name!r} is not {kind.__name__}")
    return value


def place_of(arguments: Arguments) -> tuple[int, int]:
    """Inode and offset of a place in an output; (0, 0) by default."""
    inode, offset = value_of(arguments, "inode", int, 0), value_of(arguments, "offset", int, 0)
    if not (0 <= inode <= U63_MAX and 0 <= offset <= U63_MAX):
        raise RefusedError(Code.INVALID_PARAM, "there is no such place in an output")
    return inode, offset


def key_of(arguments: Arguments) -> bytes:
    """The client's key of a request to run an application."""
    key: bytes = value_of(arguments, "key", bytes)
    if len(key) > KEY_BYTES_MAX:
        raise RefusedError(Code.TOO_BIG, f"a key has at most {KEY_BYTES_MAX} bytes")
    return key


def check_of(arguments: Arguments) -> bytes:
    """The path of the executable that checks its health; empty: none."""
    check: bytes = value_of(arguments, "check", bytes, b"")
    if b"\0" in check:
        raise RefusedError(Code.INVALID_PARAM, "the path of the check has a NUL in it")
    return check


def command_of(arguments: Arguments) -> Command:
    """The command to execute."""
    command = Command(
        program=value_of(arguments, "program", bytes),
        arguments=_list(arguments, "arguments"),
        directory=value_of(arguments, "directory", bytes),
        environment=_list(arguments, "environment"),
        umask=value_of(arguments, "umask", int) & 0o777,
    )
    if not command.arguments or not command.program or b"\0" in command.program or b"\0" in command.directory:
        raise RefusedError(Code.INVALID_PARAM, "there is no command")
    check_size(command, check_of(arguments))
    return command


def check_size(command: Command, check: bytes = b"") -> None:
    """Refuse a command that is too large."""
    parts = (command.program, command.directory, check, *command.arguments, *command.environment)
    if sum(map(len, parts)) > COMMAND_BYTES_MAX:
        raise RefusedError(
            Code.TOO_BIG, f"a command line and its environment may have {COMMAND_BYTES_MAX} bytes together"
        )
    if len(parts) > COMMAND_ENTRIES_MAX:
        raise RefusedError(
            Code.TOO_BIG, f"a command line and its environment may have {COMMAND_ENTRIES_MAX} entries together"
        )


def _list(arguments: Arguments, name: str) -> list[bytes]:
    value = value_of(arguments, name, list)
    if any(type(each) is not bytes or b"\0" in each for each in value):
        raise RefusedError(Code.INVALID_PARAM, f"the request's {name!r} is not a list of bytes without NUL")
    listed: list[bytes] = value
    return listed


def policy_of(arguments: Arguments) -> Policy:
    """The policy for its end; restart by default."""
    name = value_of(arguments, "policy", str, "restart")
    try:
        return Policy(name)
    except ValueError:
        raise RefusedError(Code.INVALID_PARAM, f"there is no policy {name!r:.40}; {', '.join(Policy)}") from None


def interval_ms_of(arguments: Arguments) -> int:
    """How long it may be silent, in ms; 0 by default."""
    interval_ms: int = value_of(arguments, "interval_ms", int, 0)
    if not 0 <= interval_ms <= INTERVAL_MS_MAX:
        raise RefusedError(Code.INVALID_PARAM, f"an interval is 0 (no limit) to {INTERVAL_MS_MAX} ms")
    return interval_ms


def signal_of(arguments: Arguments) -> int:
    """The warn signal; SIGTERM by default."""
    number: int = value_of(arguments, "signal", int, int(signal.SIGTERM))
    if number not in signal.valid_signals():
        raise RefusedError(Code.INVALID_PARAM, f"there is no signal {number}")
    return int(number)


def name_of(program: bytes) -> str:
    """The beginning of an identifier: the program's name, as far as it suits a file name."""
    name = re.sub(r"[^\w.-]", "_", os.path.basename(program).decode("ascii", "replace"), flags=re.ASCII)
    return name.lstrip(".-")[:NAME_CHARACTERS_MAX] or "application"
