"""C Corosync changes the key of a ring over knet, and Rondo's nodes follow (RELOAD and CRYPTO_RECONFIG)."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rondo.config.key import fingerprint, write_key
from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.waiting import WaitTimeoutError
from tests.interop.cpg_member import CpgMember
from tests.interop.knet_ring import NO_LINKS, KnetRing

pytestmark = [pytest.mark.namespaces, pytest.mark.corosync]

SIZES = [1, 700, 1500, 2300, 3000, 100_000]
"""What each member sends at a time: no more than a C node multicasts in one visit of the token.

Its phase 1, after which it seals with the new key, waits behind what its clients have sent.
"""
CHANGES = 2
CHANGED_S_MAX = 40.0
EXCHANGED_S_MAX = 30.0
TOKEN_TIMEOUT_MS = 5000
"""C Corosync 3.1.7 sometimes stands still while it changes the key under traffic, in rings of C nodes alone too.

Two seconds and a half were seen ("was not scheduled for 2444 ms"). With the usual token the ring forms anew then.
"""
OF_THE_CHANGE = (
    r"\[KNET *\] \w*crypto: Digest does not match",
    r"\[KNET *\] rx: Unable to decrypt packet",
    r"knet_handle_crypto_set_config to clear index \d failed: Device or resource busy",
)
"""C nodes among themselves say this too: of packets that cross the change, and of the old key on a busy machine."""
ATTEMPTS = 3
REFUSED_MIN = 8
"""So many packets of each other C nodes refuse in vain where their race has ended the ring; else it is one or two."""


@pytest.mark.parametrize("c", [pytest.param((1, 2), id="CCR"), pytest.param((1,), id="CRR")])
@pytest.mark.slow
def test_corosync_changes_the_key_under_traffic(tmp_path: Path, c: tuple[int, ...]) -> None:
    """`corosync-cfgtool -R` on a C node after the key file was replaced; twice. The ring stays, nothing is lost.

    Two C nodes have a race of their own. Each seals with the new key when its own phase 1 is delivered, and forgets the
    old key one visit of the token later. If one of them is slow for a moment (40 ms were seen), the other one cannot
    read it any more: they take each other's links for dead, and the ring is formed anew. With six of these tests at
    once on two processors that was so in 2 of 60 runs, and with a backlog of messages in 5 of 90. Such an attempt does
    not count: C nodes have refused each other's packets then, and the ring has broken.
    """
    for attempt in range(ATTEMPTS):
        with Lab(tmp_path / str(attempt), 3) as lab:
            ring = KnetRing(lab, tmp_path / str(attempt), c, complete=True, totem={"token": TOKEN_TIMEOUT_MS})
            try:
                change_keys(ring)
                return
            except (AssertionError, WaitTimeoutError) as error:
                print(lab.outputs())
                if not raced(ring):
                    raise
                print(f"attempt {attempt}: C nodes could not read each other: {error}")
    raise AssertionError(f"C nodes could not read each other in any of {ATTEMPTS} attempts")


def change_keys(ring: KnetRing) -> None:
    members = ring.members("bank")
    formed = ring.cluster.wait_ring(1, 2, 3)
    rondo = [number for number in ring.cluster.nodes if number not in ring.c]
    key_file = Path(ring.config.key_file)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(CHANGES):
            key_file.unlink()
            new = write_key(key_file)
            wanted = [[fingerprint(new)]] * len(rondo)
            exchange(members)
            reload = pool.submit(ring.lab.host(1).run, ["corosync-cfgtool", "-R"])
            until_s = time.monotonic() + CHANGED_S_MAX
            while not (reload.done() and _keys_of(ring, rondo) == wanted):
                assert time.monotonic() < until_s, f"{_keys_of(ring, rondo)}, not {wanted}"
                exchange(members)
            assert "Done" in reload.result().stdout
            exchange(members)
    messages = [member.events("message") for member in members]
    assert messages[0] == messages[1] == messages[2]
    assert ring.cluster.wait_ring(1, 2, 3) == formed
    assert ring.cluster.suspicious(NO_LINKS, *OF_THE_CHANGE) == {}


def raced(ring: KnetRing) -> bool:
    """Whether the ring broke after C nodes had refused more of each other's packets than the few that cross the change.

    Where it did not break nothing is excused: no message that is missing, and no order that differs.
    """
    if len(ring.c) < 2:
        return False
    logs = [(ring.lab.host(number).directory / "corosync.log").read_text() for number in ring.c]
    if not any("Token has not been received" in log.partition("Config reload requested")[2] for log in logs):
        return False
    addresses = [ring.lab.host(number).address_of_link(link) for number in ring.c for link in (0, 1)]
    refused = sum(log.count(f"Unable to decrypt packet from {address}:") for log in logs for address in addresses)
    return refused >= REFUSED_MIN


def exchange(members: list[CpgMember]) -> None:
    """Each sends, and has all that was sent."""
    due = len(members[0].events("message")) + len(members) * len(SIZES)
    for member in members:
        member.send("m", SIZES)
    for member in members:
        member.wait_messages(due, EXCHANGED_S_MAX)


def _keys_of(ring: KnetRing, numbers: list[int]) -> list[list[str]]:
    """Fingerprints of the valid keys of each of these Rondo nodes."""
    found = []
    for number in numbers:
        node = ring.cluster.nodes[number]
        assert isinstance(node, CompleteNode)
        status = node.service_status("totem")
        found.append(status["security"]["fingerprints"] if status is not None else [])
    return found
