"""`rondo metrics`: print all metrics of this node once, in the format of Prometheus."""

import argparse
import sys

from rondo import paths
from rondo.cli.output import CommandError, Parser

HELP = "print the metrics of this node, as Prometheus reads them"
EXAMPLE = "rondo metrics > /var/lib/node_exporter/rondo.prom"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--openmetrics", action="store_true", help="in the format of OpenMetrics")
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.metrics.collect import collect
    from rondo.metrics.seen import look

    try:
        from rondo.metrics.render import render
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise CommandError("the package prometheus_client is missing; pip install 'rondo[web]'") from None
    values = collect(look(paths.run_dir(arguments.run_dir)))
    sys.stdout.buffer.write(render(values, is_openmetrics=arguments.openmetrics))
    return 0
