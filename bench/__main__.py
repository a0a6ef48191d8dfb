"""Measure Rondo beside C Corosync: python -m bench [--quick] [--parts PART,...] [--systems SYSTEM,...] [--out DIR]

Each part leaves PART.json in DIR; REPORT.md is made of all that are there. See bench/README.md.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from bench.lab.client import ClientError
from bench.lab.cluster import BenchError
from bench.lab.systems import COROSYNC, DEFAULT_SYSTEMS, SYSTEMS, chosen
from bench.parts.catalogue import PARTS, QUICK_PARTS
from bench.plan import QUICK_SIZES, SIZES, Plan, progress
from bench.plot import plot
from bench.report import report
from bench.results import PartResult, load_all, machine, now_text, version
from rondo.testing.lab.requirements import corosync_missing, namespaces_missing
from rondo.testing.lab.waiting import WaitTimeoutError

QUICK_ROUNDS = 3
FULL_ROUNDS = 5
SIZE_MAX = 64 << 20
NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; returns the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    try:
        plan = plan_of(options)
        parts = names_of(options.parts, QUICK_PARTS if options.quick else tuple(PARTS), PARTS)
        if not options.report_only:
            _check_needs(plan)
            for part in parts:
                measure(part, plan, options, words)
        results = load_all(options.out, tuple(PARTS))
    except (ValueError, BenchError, ClientError, WaitTimeoutError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if not results:
        print(f"bench: there are no results in {options.out}", file=sys.stderr)
        return 1
    text = report(results)
    (options.out / "REPORT.md").write_text(text, encoding="utf-8")
    print(report([each for each in results if each.part in parts], with_configurations=not plan.quick))
    return 0


def measure(part: str, plan: Plan, options: argparse.Namespace, words: Sequence[str]) -> None:
    """Run one part and save what it has found."""
    progress(f"part {part}")
    if not options.systems:
        plan.systems = chosen(PARTS[part].systems)
    plan.configurations.clear()
    series = PARTS[part].run(plan)
    command = f"python -m bench {shlex.join(words)}"
    result = PartResult(
        part, PARTS[part].title, PARTS[part].rows, command, now_text(), version(), machine(),
        dict(plan.configurations), series,
    )  # fmt: skip
    for earlier in load_all(options.out, [part]) if options.add else []:
        result.add(earlier)
    progress(f"saved {result.save(options.out)}")
    progress(f"saved {plot(result, options.out) or 'no picture, because matplotlib is not installed'}")


def names_of(text: str | None, default: Sequence[str], known: Collection[str]) -> list[str]:
    """The names in a list with commas or spaces. Raises ValueError for one that is not known."""
    names = text.replace(",", " ").split() if text else list(default)
    for name in names:
        if name not in known:
            raise ValueError(f"there is no part '{name}'; there are {', '.join(known)}")
    return names


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options ask for. Raises ValueError."""
    systems = chosen((options.systems or ",".join(DEFAULT_SYSTEMS)).replace(",", " ").split())
    sizes = [int(size) for size in numbers(options.sizes, QUICK_SIZES if options.quick else SIZES, SIZE_MAX)]
    plan = Plan(systems, sizes, rounds=options.rounds or (QUICK_ROUNDS if options.quick else FULL_ROUNDS))
    plan.quick = options.quick
    plan.seconds = options.seconds or (0.7 if options.quick else 1.5)
    plan.nodes = options.nodes
    plan.quiet_wait_s = options.quiet_wait
    plan.node_counts = [int(count) for count in numbers(options.node_counts, plan.node_counts, 16)]
    plan.losses_percent = numbers(options.losses, plan.losses_percent, 50)
    if options.quick:
        plan.latency_count, plan.idle_latency_count = 300, 40
    return plan


def numbers(text: str | None, default: Sequence[float], largest: int) -> list[float]:
    """Numbers in a list with commas or spaces, integers where they are whole. Raises ValueError."""
    if not text:
        return list(default)
    words = text.replace(",", " ").split()
    if not all(NUMBER.fullmatch(word) and float(word) <= largest for word in words):
        raise ValueError(f"'{text}' is not a list of numbers up to {largest}")
    return [float(word) if "." in word else int(word) for word in words]


def _check_needs(plan: Plan) -> None:
    if reason := namespaces_missing():
        raise BenchError(f"{reason}; `make bench-core` measures without namespaces")
    if any(system.program == COROSYNC for system in plan.systems) and (reason := corosync_missing()):
        raise BenchError(f"{reason}; --systems rondo measures without it")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--systems",
        help=f"of {', '.join(SYSTEMS)}; +rr and +norr set sched_rr, knet's +links a second link, "
        "Rondo's +aio and +c other clients",
    )
    parser.add_argument("--sizes", help="bytes of the messages")
    parser.add_argument("--nodes", type=int, default=3, choices=range(1, 17), metavar="N", help="default: 3")
    parser.add_argument("--rounds", type=int, help=f"samples of each (default: {FULL_ROUNDS}, quick {QUICK_ROUNDS})")
    parser.add_argument("--seconds", type=float, help="length of one throughput sample")
    parser.add_argument("--node-counts", help="for the part growth (default: 1,2,3,8,16)")
    parser.add_argument("--losses", help="percent, for the part loss (default: 0,0.1,1,5)")
    parser.add_argument(
        "--quiet-wait", type=float, default=0, metavar="S",
        help="let each sample wait at most so long for other programs on the machine to pause (default: 0)",
    )  # fmt: skip
    parser.add_argument("--add", action="store_true", help="put the samples to those that PART.json has already")
    parser.add_argument("--quick", action="store_true", help="under three minutes, and not to be quoted")
    parser.add_argument("--out", type=Path, default=Path("bench/results"), help="default: %(default)s")
    parser.add_argument("--report-only", action="store_true", help="measure nothing, make REPORT.md anew")
    return parser


if __name__ == "__main__":
    sys.exit(main())
