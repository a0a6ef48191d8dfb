"""CURVE keys (RFC 26), by which a client on another host and the gateway recognise each other and encrypt.

A key pair is a file of two lines, `public HEX` and `secret HEX`, which only its owner may read. The public keys of the
admitted clients are in a file at the gateway, one line each: `HEX NAME`. Keys are 32 bytes in hexadecimal. ZeroMQ's own
encoding Z85 uses punctuation that has a meaning in shells and configuration files.
"""

import os
import stat
from pathlib import Path
from typing import NamedTuple

import zmq
from zmq.utils import z85

from rondo.config.key import KeyFileError, read_private, write_private

KEY_BYTES = 32
FILE_BYTES_MAX = 1024 * 1024
MAKE = "make one with: rondo keygen --curve --key-file {}"


class KeyPair(NamedTuple):
    """32 bytes each."""

    public: bytes
    secret: bytes


def make_key_pair() -> KeyPair:
    """A new one."""
    public, secret = zmq.curve_keypair()
    return KeyPair(z85.decode(public), z85.decode(secret))


def write_key_pair(path: Path, pair: KeyPair, *, overwrite: bool = False) -> None:
    """Write a key pair, as a whole or not at all. Raises FileExistsError if the file exists and must not be
    overwritten."""
    text = f"public {pair.public.hex()}\nsecret {pair.secret.hex()}\n"
    write_private(path, text.encode(), overwrite=overwrite)


def parse_key(text: str) -> bytes:
    """A public key from its text form. Raises ValueError."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES or len(text) != 2 * KEY_BYTES:
        raise ValueError(f"a public key has {2 * KEY_BYTES} hexadecimal digits")
    return key


def read_key_pair(path: Path) -> KeyPair:
    """The key pair in a file, which only its owner may access. Raises KeyFileError."""
    lines = _read(path, MAKE.format(path), is_secret=True).split("\n")
    fields = dict(line.split(" ", 1) for line in lines if " " in line)
    try:
        pair = KeyPair(parse_key(fields["public"]), parse_key(fields["secret"]))
        if z85.decode(zmq.curve_public(z85.encode(pair.secret))) != pair.public:
            raise ValueError
    except (KeyError, ValueError):
        raise KeyFileError(path, "this is no pair of CURVE keys", MAKE.format(path)) from None
    return pair


def read_clients(path: Path) -> dict[bytes, str]:
    """The admitted clients, from public key to name. Raises KeyFileError, which names the line."""
    mend = "write one line `PUBLIC-KEY NAME` for each client"
    clients: dict[bytes, str] = {}
    for number, line in enumerate(_read(path, mend, is_secret=False).split("\n"), 1):
        words = line.split(None, 1)
        if not words or words[0].startswith("#"):
            continue
        try:
            clients[parse_key(words[0])] = words[1].strip() if len(words) > 1 else ""
        except ValueError as error:
            raise KeyFileError(path, f"line {number}: {error}", mend) from None
    return clients


def _read(path: Path, mend: str, *, is_secret: bool) -> str:
    try:
        content = read_private(path, FILE_BYTES_MAX) if is_secret else _read_guarded(path)
    except FileNotFoundError:
        raise KeyFileError(path, "there is no such file", mend) from None
    except OSError as error:
        raise KeyFileError(path, f"it cannot be read: {error.strerror}", "see its owner and mode") from None
    return content.decode("ascii", "replace")


def _read_guarded(path: Path) -> bytes:
    """A file that others may read but not change. Raises KeyFileError, OSError."""
    # Without O_NONBLOCK, opening a FIFO would block until it has a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
            raise KeyFileError(
                path, "others may change who is let in", f"make it a regular file of user {os.geteuid()}, chmod 644"
            )
        return file.read(FILE_BYTES_MAX)
