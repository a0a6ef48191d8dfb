"""Faults on a cluster of whole nodes: python -m tests.cluster.chaos --seconds 60 --seed 1. Exit 0 if all holds."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from rondo.testing.lab.requirements import namespaces_missing
from tests.cluster.chaos.run import RATE, Options, Run


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.chaos", description=__doc__,
        epilog="example: make chaos SECONDS=60 SEED=7",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="what happens, and when (default 1)")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the faults (default 60)")
    parser.add_argument("--rate", type=float, default=RATE, help=f"messages a second of a sender (default {RATE:g})")
    parser.add_argument(
        "--kills", type=int, default=0, help="instead: kill each service but the ring N times on node 1"
    )
    parser.add_argument("--restarts", type=int, default=0, help="instead: kill and start node 3 N times")
    parser.add_argument(
        "--flood", type=float, default=0, help="instead: so many seconds of forged and replayed packets"
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs also if all holds")
    options = parser.parse_args()
    if missing := namespaces_missing():
        print(f"error: {missing}", file=sys.stderr)
        return 1
    directory = Path(tempfile.mkdtemp(prefix="rondo-chaos-", dir="/tmp"))
    chosen = Options(options.seed, options.seconds, options.rate, options.kills, options.restarts, options.flood)
    report = Run(chosen, directory, lambda line: print(line, flush=True)).run()
    print(report.text())
    if report.holds and not options.keep:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        print(f"logs and trace: {directory}")
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
