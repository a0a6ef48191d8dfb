"""`rondo web`: a page of this node, its metrics and events, for browsers and Prometheus. Foreground, read-only."""

import argparse
from pathlib import Path

from rondo import paths
from rondo.cli.output import CommandError, Parser

HELP = "serve a page of this node, its metrics and its events; read-only, until Ctrl-C"
EXAMPLE = "rondo web"
PACKAGES = ("prometheus_client", "starlette", "uvicorn", "h11", "anyio")
PORT = 5480


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--address", type=_address, default=("127.0.0.1", PORT), metavar="IP:PORT", help="default: 127.0.0.1:5480"
    )
    parser.add_argument("--name", action="append", default=[], metavar="N", help="a name that browsers may ask for too")
    parser.add_argument("--token-file", metavar="F", type=Path, help="who asks has to have what is in it (mode 0600)")
    parser.add_argument("--tls-cert", metavar="F", default="", help="certificate, with its chain (PEM)")
    parser.add_argument("--tls-key", metavar="F", default="", help="its key (PEM)")
    parser.add_argument(
        "--tls-clients", metavar="F", default="", help="clients have to have a certificate signed by one of these (PEM)"
    )
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    try:
        from services.web.server import Options, WebError, read_token, serve
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in PACKAGES:
            raise
        raise CommandError(f"the package {name} is missing; pip install 'rondo[web]'") from None
    host, port = arguments.address
    try:
        token = read_token(arguments.token_file) if arguments.token_file else b""
        run_dir = paths.run_dir(arguments.run_dir)
        names = tuple(arguments.name)
        tls = (arguments.tls_cert, arguments.tls_key, arguments.tls_clients)
        serve(Options(run_dir, host, port, names, token, *tls))
    except WebError as error:
        raise CommandError(str(error)) from None
    return 0


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"'{text}' is not an address and a port, as 127.0.0.1:5480 or [::1]:5480")
    return host.strip("[]"), int(port)
