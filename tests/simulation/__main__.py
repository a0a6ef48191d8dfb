"""Command line of the simulator.

`run` runs seeds and judges them, `forge` floods rings with forgeries, `narrate` tells a story, `rates` compares rules,
and `scale` measures rings of many nodes.

    python -m tests.simulation run --seeds 2000 --jobs 2
    python -m tests.simulation run --seed 17 --trace trace.ndjson
    python -m tests.simulation forge --seeds 200 --jobs 2
    python -m tests.simulation narrate
    python -m tests.simulation rates
    python -m tests.simulation scale --nodes 2,16
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from services.totem.wire.frames import PROCESSORS_MAX
from tests.simulation import rates, scale
from tests.simulation.forgery import run_forgeries
from tests.simulation.knet_plan import EVERY, THE
from tests.simulation.narrate import narrate
from tests.simulation.plan import make_plan
from tests.simulation.run import SeedRun
from tests.simulation.swarm import explain, run_swarm, summary


def positive_number(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def ring_sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.split(","))
    if not all(2 <= size <= PROCESSORS_MAX for size in sizes):
        raise argparse.ArgumentTypeError(f"a ring has 2 to {PROCESSORS_MAX} nodes")
    return sizes


def list_of_numbers(text: str) -> frozenset[int]:
    return frozenset(int(part) for part in text.split(",") if part)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="The ring in the deterministic simulator.",
        epilog="example: python -m tests.simulation run --seeds 2000 --jobs 2",
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run seeds and judge them")
    which = run.add_mutually_exclusive_group(required=True)
    which.add_argument("--seeds", type=positive_number, metavar="N", help="run N seeds")
    which.add_argument("--seed", type=int, metavar="S", help="run this seed alone")
    run.add_argument("--from", type=int, default=0, dest="first", metavar="S", help="first of the N seeds (default 0)")
    run.add_argument("--knet", action="store_true", help="with --seeds: of the seeds take those with knet, every third")
    run.add_argument("--jobs", type=positive_number, default=1, metavar="J", help="processes (default 1)")
    run.add_argument("--trace", type=Path, metavar="FILE", help="with --seed: write the trace, a JSON object a line")
    run.add_argument("--digests", type=Path, metavar="FILE", help="with --seeds: write the digest of each seed's trace")
    run.add_argument(
        "--without", type=list_of_numbers, default=frozenset(), metavar="I,J", help="with --seed: leave these out"
    )
    forge = commands.add_parser("forge", help="flood rings with forgeries and see that they recover")
    which = forge.add_mutually_exclusive_group(required=True)
    which.add_argument("--seeds", type=positive_number, metavar="N", help="run N seeds")
    which.add_argument("--seed", type=int, metavar="S", help="run this seed alone")
    forge.add_argument("--jobs", type=positive_number, default=1, metavar="J", help="processes (default 1)")
    commands.add_parser("narrate", help="tell the story of a small cluster, and judge it")
    compare = commands.add_parser("rates", help="messages a second with loss, by Corosync's rules and by Rondo's")
    compare.add_argument("--nodes", type=positive_number, default=3, metavar="N", help="nodes of the ring (default 3)")
    compare.add_argument(
        "--size", type=positive_number, default=1024, metavar="B", help="bytes of a message (default 1024)"
    )
    compare.add_argument(
        "--messages", type=positive_number, default=20_000, metavar="M", help="messages per figure (default 20000)"
    )
    compare.add_argument("--seed", type=int, default=1, metavar="S", help="of delays and losses (default 1)")
    sizes = commands.add_parser("scale", help="what rings of many nodes cost, on a LAN and over three data centres")
    sizes.add_argument(
        "--nodes", type=ring_sizes, default=scale.NODES, metavar="N,M", help="sizes, from 2 (default 2 to 128)"
    )
    sizes.add_argument("--seed", type=int, default=1, metavar="S", help="of delays (default 1)")
    return parser


def _run_one(seed: int, without: frozenset[int], trace: Path | None) -> int:
    """Run one seed and say what it did."""
    run = SeedRun(make_plan(seed), without)
    report = run.run()
    print(summary([report], report.wall_s))
    print(f"trace digest {run.world.trace.digest()}")
    if trace is not None:
        try:
            run.world.trace.write(trace)
        except OSError as error:
            print(f"error: cannot write the trace: {error}", file=sys.stderr)
            return 1
    print(explain(report, without) if report.failures else f"seed {seed} holds every property")
    return 1 if report.failures else 0


def main(arguments: list[str] | None = None) -> int:
    """Run a command. The exit code: 0 if every property holds, 1 if not, 2 for wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "narrate":
        return narrate(sys.stdout)
    if options.command == "forge":
        seeds = range(options.seeds) if options.seed is None else range(options.seed, options.seed + 1)
        return run_forgeries(seeds, options.jobs)
    if options.command == "rates":
        rates.table(sys.stdout, nodes=options.nodes, size=options.size, messages=options.messages, seed=options.seed)
        return 0
    if options.command == "scale":
        scale.table(sys.stdout, options.nodes, options.seed)
        return 0
    if options.seed is not None:
        if options.digests:
            parser.error("--digests goes with --seeds; a single seed prints the digest of its trace")
        return _run_one(options.seed, options.without, options.trace)
    if options.trace or options.without:
        parser.error("--trace and --without go with --seed")
    try:
        first = options.first + (THE - options.first) % EVERY if options.knet else options.first
        step = EVERY if options.knet else 1
        seeds = range(first, first + step * options.seeds, step)
        return run_swarm(seeds, options.jobs, options.digests)
    except OSError as error:
        print(f"error: cannot write the digests: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
