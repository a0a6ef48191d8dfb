"""What happens to rings in the tests, the same for C nodes, Rondo nodes and both together.

Each scenario starts from a cluster whose nodes are all in one ring, makes something happen, and ends with all in
one ring again. It checks what holds for every Totem ring: ring identifiers grow, and the representative is the
lowest member.
"""

from rondo.testing.lab.faults import Faults
from rondo.testing.lab.ring_nodes import Cluster, View

# What a C node logs, and Rondo after it, if the token is lost. (`Failed to receive the leave message` is no sign of
# that: a C node writes it too if another member's join, which follows from the leave, overtakes the leave itself.)
TOKEN_LOST = "A processor failed, forming new configuration"


def check_successor(before: View, after: View) -> None:
    """Check that a ring may have come after another."""
    assert after.sequence > before.sequence
    assert after.representative == min(after.members)


def kill_and_restart(cluster: Cluster, victim: int) -> None:
    """Kill one node with SIGKILL; the others form a ring without it, and it comes back into the next."""
    everybody = tuple(cluster.nodes)
    others = tuple(number for number in everybody if number != victim)
    first = cluster.wait_ring(*everybody)
    cluster.nodes[victim].kill()
    second = cluster.wait_ring(*others)
    check_successor(first, second)
    cluster.nodes[victim].start()
    check_successor(second, cluster.wait_ring(*everybody))


def partition_and_heal(cluster: Cluster, faults: Faults, alone: int) -> None:
    """Cut one node off: each side forms its ring; then let them find each other again."""
    everybody = tuple(cluster.nodes)
    others = tuple(number for number in everybody if number != alone)
    first = cluster.wait_ring(*everybody)
    faults.partition({alone}, others)
    sides = cluster.wait_ring(*others), cluster.wait_ring(alone)
    assert faults.dropped() > 0
    faults.heal()
    healed = cluster.wait_ring(*everybody)
    for side in sides:
        check_successor(first, side)
        check_successor(side, healed)


def leave_and_return(cluster: Cluster, leaver: int) -> None:
    """Let one node leave cleanly: the others are told, and do not find out by a time-out; then it comes back.

    The token time-out should be `PATIENT`: a machine that holds a process up must not be the one who has it lost.
    """
    everybody = tuple(cluster.nodes)
    others = tuple(number for number in everybody if number != leaver)
    first = cluster.wait_ring(*everybody)
    losses = {number: cluster.nodes[number].log().count(TOKEN_LOST) for number in others}
    cluster.nodes[leaver].stop()
    second = cluster.wait_ring(*others)
    check_successor(first, second)
    assert losses == {number: cluster.nodes[number].log().count(TOKEN_LOST) for number in others}
    cluster.nodes[leaver].start()
    check_successor(second, cluster.wait_ring(*everybody))


def freeze_and_thaw(cluster: Cluster, sleeper: int) -> None:
    """Freeze one node until the others have gone on without it; awake, it must not go on in its old ring."""
    everybody = tuple(cluster.nodes)
    others = tuple(number for number in everybody if number != sleeper)
    first = cluster.wait_ring(*everybody)
    cluster.nodes[sleeper].freeze()
    second = cluster.wait_ring(*others)
    check_successor(first, second)
    cluster.nodes[sleeper].thaw()
    check_successor(second, cluster.wait_ring(*everybody))
