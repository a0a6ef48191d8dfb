"""`rondo keygen`: write a key that all nodes of a cluster share. Prints its fingerprint, never the key.

With --curve: the key pair of a gateway, or of a client on another host. Prints the public key, which is not secret.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rondo import paths
from rondo.cli.output import CommandError, Parser, print_json
from rondo.config import key

HELP = "write the key that all nodes of a cluster share"
EXAMPLE = "rondo keygen --key-file /etc/corosync/authkey"

Made = TypeVar("Made")


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--key-file",
        metavar="F",
        help=f"where to write it (default: $COROSYNC_TOTEM_AUTHKEY_FILE, else {paths.KEY_FILE_DEFAULT}; "
        "none with --curve)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--bytes",
        type=_size,
        metavar="N",
        help=f"size of the key, {key.KEY_BYTES_MIN} to {key.KEY_BYTES_MAX} (default: {key.KEY_BYTES_DEFAULT})",
    )
    kind.add_argument(
        "--curve",
        action="store_true",
        help="instead, write the key pair of a gateway that serves clients on other hosts, or of such a client",
    )
    parser.add_argument("--force", action="store_true", help="overwrite a key that is there")
    parser.add_argument("--json", action="store_true", help="print file, size and fingerprint as JSON")


def run(arguments: argparse.Namespace) -> int:
    if arguments.curve:
        return _make_key_pair(arguments)
    path = paths.key_file(arguments.key_file)
    size = arguments.bytes or key.KEY_BYTES_DEFAULT
    made = _write(path, lambda: key.write_key(path, size, overwrite=arguments.force), "a cluster")
    fingerprint = key.fingerprint(made)
    if arguments.json:
        print_json({"key_file": str(path), "bytes": len(made), "fingerprint": fingerprint})
    else:
        print(f"{path}: {len(made)} bytes, fingerprint {fingerprint}; copy it to all nodes")
    return 0


def _make_key_pair(arguments: argparse.Namespace) -> int:
    from rondo import curve  # loads ZeroMQ

    if not arguments.key_file:
        raise CommandError("say where to write the key pair: --key-file, as in /etc/corosync/gateway.key on a node")
    path = Path(arguments.key_file).absolute()
    pair = curve.make_key_pair()
    _write(path, lambda: curve.write_key_pair(path, pair, overwrite=arguments.force), "its owner")
    if arguments.json:
        print_json({"key_file": str(path), "public_key": pair.public.hex()})
    else:
        print(f"{path}: public key {pair.public.hex()}")
    return 0


def _write(path: Path, write: Callable[[], Made], who: str) -> Made:
    try:
        return write()
    except FileExistsError:
        raise CommandError(
            f"{path}: there is a file already, and {who} would lose its key; use --force to overwrite it"
        ) from None
    except FileNotFoundError:
        raise CommandError(f"{path}: the directory {path.parent} does not exist; make it, or use --key-file") from None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; use --key-file to write it elsewhere") from None


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of bytes")
    size = int(text)
    if not key.KEY_BYTES_MIN <= size <= key.KEY_BYTES_MAX:
        raise argparse.ArgumentTypeError(f"a key has {key.KEY_BYTES_MIN} to {key.KEY_BYTES_MAX} bytes")
    return size
