"""Sixteen nodes on this machine under full load: no membership may change.

    python -m tests.cluster.chaos.crowd --seconds 300

An application on each node sends as fast as it may and takes everything that the others send, on however few processors
there are. Default timers; no rights are needed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rondo import config
from rondo.testing.lab.rondo_node import REPOSITORY
from rondo.testing.lab.waiting import wait_for
from tests.cluster.chaos.overload import SENDER
from tests.cluster.test_sixteen_nodes import NODES, Node, configuration, wait_one_ring
from tests.ports import reserve_port

MESSAGE_BYTES = 512
STOP_S = 5.0
LOOK_EVERY_S = 10.0
ANSWER_TIMEOUT_S = 60.0

Ring = tuple[int, int, tuple[int, ...]]
Say = Callable[[str], None]


def crowd(seconds: float, stack: ExitStack, say: Say = lambda _line: None) -> tuple[list[str], str]:
    """Run the nodes. Returns what is wrong, and a line with the figures."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rondo-crowd-", dir="/tmp")))
    path = configuration(directory, reserve_port(stack))
    nodes = []
    for number in range(1, NODES + 1):
        state_dir = directory / f"s{number}"
        state_dir.mkdir(mode=0o700)
        resolved = directory / f"resolved{number}"
        config.resolve(config.load(path, node_id=number), state_dir=state_dir).save(resolved)
        nodes.append(Node(number, resolved, directory))
        stack.callback(nodes[-1].kill)
    wait_one_ring(nodes)
    before = nodes[0].ring()
    assert before is not None
    outputs = []
    for node in nodes:
        output = (directory / f"sender{node.number}.out").open("wb")
        outputs.append(Path(output.name))
        sender = subprocess.Popen(
            [sys.executable, "-c", SENDER, node.endpoint, str(MESSAGE_BYTES)],
            stdout=output, stderr=subprocess.STDOUT, env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        output.close()
        stack.callback(_end, sender)
    wrong = _watch(nodes, before, outputs, seconds, say)
    counts = [_counts(path) for path in outputs]
    if any(not each for each in counts):
        wrong.append(f"some applications have seen nothing: {[len(each) for each in counts]}")
    late = [node.log().count("was not scheduled for") for node in nodes]
    delivered = sum(sum(each) for each in counts)
    return (
        wrong,
        f"{delivered:,} deliveries in {seconds:g} s at {NODES} applications, not scheduled in time: {sum(late)}",
    )


def _watch(nodes: list[Node], before: Ring, outputs: list[Path], seconds: float, say: Say) -> list[str]:
    """For so long: what is wrong, as soon as a node is on another ring than before. A ring that is left is no member's
    ring ever again, so a node that is too busy to answer can be asked later on."""
    deadline_s = time.monotonic() + seconds
    while (left_s := deadline_s - time.monotonic()) > 0:
        time.sleep(min(LOOK_EVERY_S, left_s))
        if changed := _on_others(nodes, before):
            return [f"after {seconds + time.monotonic() - deadline_s:.0f} s {before} is not the ring of {changed}"]
        delivered = sum(sum(_counts(path)[-1:]) for path in outputs)
        name = f"{before[0]}.{before[1]:x}"
        say(f"{left_s:6.1f} s left; ring {name} of {len(before[2])}; {delivered:,} deliveries a second")
    for node in nodes:
        wait_for(node.ring, lambda ring: ring is not None, f"an answer of node {node.number}", ANSWER_TIMEOUT_S)
    changed = _on_others(nodes, before)
    return [f"{before} is not the ring of {changed}"] if changed else []


def _on_others(nodes: list[Node], before: Ring) -> dict[int, Ring]:
    """The nodes whose ring is not this one."""
    rings = {node.number: node.ring() for node in nodes}
    return {number: ring for number, ring in rings.items() if ring not in (None, before)}


def _counts(path: Path) -> list[int]:
    """Deliveries in each second at one application. An incomplete last line is left out."""
    text = path.read_text()
    return [int(line.split()[0]) for line in text[: text.rfind("\n") + 1].splitlines()]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(STOP_S)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.chaos.crowd", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="of full load (default 300)")
    options = parser.parse_args()
    with ExitStack() as stack:
        try:
            wrong, seen = crowd(options.seconds, stack, lambda line: print(line, flush=True))
        except AssertionError as error:  # a process has ended, or what was waited for did not come
            wrong, seen = [str(error)], "ended early"
    print(seen)
    print("\n".join(wrong) if wrong else "no membership has changed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
