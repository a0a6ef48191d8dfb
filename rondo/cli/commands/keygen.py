"""`rondo keygen`: write a key that all nodes of a cluster share. Prints its fingerprint, never the key."""

import argparse

from rondo import paths
from rondo.cli.output import CommandError, Parser, print_json
from rondo.config import key

HELP = "write the key that all nodes of a cluster share"
EXAMPLE = "rondo keygen --key-file /etc/corosync/authkey"


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--key-file",
        metavar="F",
        help=f"where to write it (default: $COROSYNC_TOTEM_AUTHKEY_FILE, else {paths.KEY_FILE_DEFAULT})",
    )
    parser.add_argument(
        "--bytes",
        type=_size,
        default=key.KEY_BYTES_DEFAULT,
        metavar="N",
        help=f"size of the key, {key.KEY_BYTES_MIN} to {key.KEY_BYTES_MAX} (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite a key that is there")
    parser.add_argument("--json", action="store_true", help="print file, size and fingerprint as JSON")


def run(arguments: argparse.Namespace) -> int:
    path = paths.key_file(arguments.key_file)
    try:
        made = key.write_key(path, arguments.bytes, overwrite=arguments.force)
    except FileExistsError:
        raise CommandError(
            f"{path}: there is a file already, and a cluster would lose its key; use --force to overwrite it"
        ) from None
    except FileNotFoundError:
        raise CommandError(f"{path}: the directory {path.parent} does not exist; make it, or use --key-file") from None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; use --key-file to write it elsewhere") from None
    fingerprint = key.fingerprint(made)
    if arguments.json:
        print_json({"key_file": str(path), "bytes": len(made), "fingerprint": fingerprint})
    else:
        print(f"{path}: {len(made)} bytes, fingerprint {fingerprint}; copy it to all nodes")
    return 0


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of bytes")
    size = int(text)
    if not key.KEY_BYTES_MIN <= size <= key.KEY_BYTES_MAX:
        raise argparse.ArgumentTypeError(f"a key has {key.KEY_BYTES_MIN} to {key.KEY_BYTES_MAX} bytes")
    return size
