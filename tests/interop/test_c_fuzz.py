"""Programs in C that call the five services with what makes no sense: they harm themselves alone.

RONDO_FUZZ_REQUESTS: how many requests (a million: `RONDO_FUZZ_REQUESTS=1000000`); RONDO_FUZZ_SEED: which.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.waiting import wait_for
from tests.interop.c_programs import compiled, nodes_of
from tests.interop.cpg_member import CpgMember
from tests.interop.test_c_programs import serve_within_a_second

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces, pytest.mark.timeout(7200)]

REQUESTS = int(os.environ.get("RONDO_FUZZ_REQUESTS", "5000"))
SEED = int(os.environ.get("RONDO_FUZZ_SEED", "1"))
PROGRAMS = 4
"""At the same time: one alone mostly waits for answers that nobody owes it."""
ENDED_S_MAX = 30.0


@pytest.fixture
def node(make_lab: Callable[[int], Lab], tmp_path: Path) -> Iterator[Node]:
    """A single node that counts votes."""
    with nodes_of(make_lab(1), tmp_path, quorum={"provider": "corosync_votequorum"}) as nodes:
        yield nodes[0]


@pytest.mark.slow
def test_who_calls_everything_wrongly_harms_himself_alone(node: Node, tmp_path: Path) -> None:
    program = compiled(tmp_path, "fuzz", "-l:libqb.so.100")
    bystander = CpgMember(node.host, "bystanders", "bystander")
    bystander.wait_members(bystander)
    before = node.pids()
    each = REQUESTS // PROGRAMS
    seeds = range(SEED * PROGRAMS, (SEED + 1) * PROGRAMS)
    programs = [node.host.start([program, str(each), str(seed)], f"fuzz{seed}") for seed in seeds]
    served = serve_within_a_second(bystander, lambda: any(fuzz.alive for fuzz in programs))
    found: Counter[str] = Counter()
    for fuzz in programs:
        status = wait_for(lambda fuzz=fuzz: fuzz.exit_status, lambda status: status is not None, "its end", ENDED_S_MAX)  # type: ignore[misc]
        assert status == 0, fuzz.output()[-500:]
        words = fuzz.output().splitlines()[-1].split()
        found.update(dict(zip(words[::2], map(int, words[1::2]), strict=True)))
    print(f"{dict(found)}; the bystander was served {served} times")
    assert found["sent"] == each * PROGRAMS
    assert found["answered"] > found["sent"] // 20, "within 2 ms, on a busy machine"
    assert found["hung_up"] > 0, "who says another length than he sends is hung up"
    assert node.pids() == before, "no process of the node has died"
    assert node.told("qb_gateway")["state"] == "operational"
