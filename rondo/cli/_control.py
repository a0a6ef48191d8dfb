"""Common to the commands that query the control process: the connection, its options, and the report of a failure."""

import argparse
import contextlib
from collections.abc import Iterator

import rondo
from rondo import paths
from rondo._client.control import Control
from rondo._client.endpoint import endpoint_of
from rondo.cli.connecting import is_absent
from rondo.cli.output import CommandError, Parser

ANSWER_TIMEOUT_S = 10.0


def add_place(parser: Parser) -> None:
    """The options that select the node."""
    parser.add_argument("--socket", metavar="ENDPOINT", help="what to connect to (RONDO_SOCKET)")
    parser.add_argument("--run-dir", metavar="D", help="run directory of the node (RONDO_RUN_DIR)")


@contextlib.contextmanager
def asking(arguments: argparse.Namespace) -> Iterator[Control]:
    """A connection to the node's control process. Raises CommandError."""
    try:
        endpoint = endpoint_of(paths.client_socket(arguments.socket, arguments.run_dir))
        if is_absent(endpoint.url):
            raise CommandError(endpoint.no_answer)
        control = Control(endpoint)
        try:
            yield control
        finally:
            control.close()
    except rondo.Error as error:
        raise CommandError(str(error)) from None
