"""Who cannot be in a ring with this node is kept from it, and the log says who it is and which line to change."""

from __future__ import annotations

import dataclasses
import logging
import select
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from rondo.config.node import KnetLink as ConfiguredLink
from rondo.config.node import KnetSettings, NodeConfig, SecuritySettings
from services.totem.protection import Protection
from services.totem.settings import knet_settings
from services.totem.strangers import (
    CLEAR,
    KNET,
    REMEMBERED_MAX,
    REMEMBERED_NS,
    SECURE,
    UNKNOWN,
    Strangers,
    transport_of,
)
from services.totem.transport.base import Datagram
from services.totem.transport.knet.format import Ping, encode_ping
from services.totem.transport.knet_link import KnetLink
from services.totem.transport.link import Link
from services.totem.transport.peephole import DROPPED_MAX, Peephole
from services.totem.wire.frames import HoldCancel, Merge, encode_hold_cancel
from services.totem.wire.frames import encode_merge as merge_frame
from tests.ports import reserve_port
from tests.unit.totem.test_protection import node_config, protection
from tests.unit.totem.test_transport import RING, join, mcast, settings, token

SECOND_NS = 1_000_000_000
ADDRESSES = {2: "10.0.0.2", 3: "10.0.0.3"}


def merge(sender: int) -> bytes:
    return merge_frame(Merge(sender, sender, RING))


def address_of(node: int) -> tuple[str, int] | None:
    return (ADDRESSES[node], 5405) if node in ADDRESSES else None


def node_at(address: str) -> int | None:
    return next((node for node, known in ADDRESSES.items() if known == address), None)


def sifted(strangers: Strangers, *frames: Datagram, now_ns: int = 0) -> list[Datagram]:
    return strangers.sift(list(frames), address_of, node_at, now_ns)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


PING = encode_ping(Ping(2, 0, 5, 0, timed=True))


@pytest.mark.parametrize(
    ("frame", "source", "text"),
    [
        (join(7), "10.0.0.9", "10.0.0.9: its node id 7 is not in the nodelist; write the same nodelist on all nodes"),
        (merge(7), "10.0.0.2", "10.0.0.2 (node 2): its node id 7 is not in the nodelist"),
        (mcast(7, 1), "10.0.0.9", "its node id 7 is not in the nodelist"),
        (join(1), "10.0.0.9", "it has this node's own id; give each node its own nodeid"),
        (merge(1), "10.0.0.3", "10.0.0.3 (node 3): it has this node's own id"),
        (
            join(2),
            "10.0.0.3",
            "it has the id of node 2, whose address is 10.0.0.2, and comes from that of node 3; give each node its own",
        ),
        (PING, "10.0.0.2", "10.0.0.2 (node 2): it is a packet of transport: knet, in the clear; write transport: knet"),
        (
            b"R\x01" + bytes(60),
            "10.0.0.2",
            "it is a packet of udp or udpu with Rondo's packet security; write the same",
        ),
        (
            b"\x99" * 80,
            "10.0.0.2",
            "it is a packet of no cluster, or of transport: knet with encryption; write the same",
        ),
    ],
)
def test_a_stranger_is_kept_out_and_named(frame: bytes, source: str, text: str, said: Callable[[], list[str]]) -> None:
    counters: Counter[str] = Counter()
    strangers = Strangers(1, (1, 2, 3), counters)
    good = (mcast(2, 1), ("10.0.0.2", 5405))
    assert sifted(strangers, good, (frame, (source, 5405)), good) == [good, good]
    (line,) = said()
    assert line.startswith("Packet ignored. It came from 10.0.0.")
    assert text in line
    assert counters == {"rx_stranger": 1}
    (seen,) = strangers.status(SECOND_NS)
    assert (seen["address"], seen["seconds_ago"]) == (source, 1.0)
    assert seen["why"] in line


def test_what_belongs_to_the_ring_is_taken(said: Callable[[], list[str]]) -> None:
    strangers = Strangers(1, (1, 2, 3), Counter())
    frames: list[Datagram] = [
        (mcast(2, 1), ("10.0.0.2", 1)),
        (mcast(1, 1), ("10.0.0.3", 1)),  # an own message that somebody sends again
        (mcast(3, 1), ("10.0.0.2", 1)),  # and another's
        (token(7), ("10.0.0.2", 1)),
        (encode_hold_cancel(HoldCancel(2, RING)), ("10.0.0.2", 1)),
        (join(2), ("10.0.0.2", 1)),
        (join(3), ("10.9.9.9", 1)),  # a second address of node 3: nobody else's, so it may be
        (merge(3), ("10.0.0.3", 1)),
        (b"\x70\xc0" + bytes(2), ("10.0.0.3", 1)),  # too short: the ring counts it
        (b"\xc0\x70" + bytes(40), ("10.0.0.3", 1)),  # of the other byte order: the ring counts it
    ]
    assert sifted(strangers, *frames) == frames
    assert said() == []


def test_without_a_nodelist_everybody_is_welcome_but_with_the_own_id() -> None:
    strangers = Strangers(1, (), Counter())
    assert len(sifted(strangers, (join(77), ("10.0.0.9", 1)), (join(1), ("10.0.0.9", 1)))) == 1


def test_a_peer_is_told_of_once_a_second(said: Callable[[], list[str]]) -> None:
    strangers = Strangers(1, (1, 2, 3), Counter())
    for tick in range(40):  # four seconds
        sifted(strangers, (join(7), ("10.0.0.7", 1)), (join(8), ("10.0.0.8", 1)), now_ns=tick * SECOND_NS // 10)
    assert len([line for line in said() if "10.0.0.7" in line]) == 4
    assert len([line for line in said() if "10.0.0.8" in line]) == 4
    assert "(18 such packets without a line)" in said()[-2]


def test_many_strangers_take_little_memory() -> None:
    strangers = Strangers(1, (1, 2, 3), Counter())
    for number in range(1000):
        sifted(strangers, (join(7), (f"10.1.{number >> 8}.{number & 255}", 1)))
    assert len(strangers.status(0)) == REMEMBERED_MAX
    assert strangers.status(0)[-1]["address"] == "10.1.3.231"
    assert strangers.status(REMEMBERED_NS) == []


def test_which_transport_a_datagram_is_of(tmp_path: Path) -> None:
    key = SecuritySettings("aes256-gcm", "none", key=bytes(range(128)))
    assert transport_of(join(1)) == CLEAR
    assert transport_of(protection(tmp_path, key).seal(join(1))) == SECURE
    assert transport_of(PING) == KNET
    assert transport_of(b"\x99" * 100) == UNKNOWN
    assert transport_of(b"") == UNKNOWN


def receive(link: Link | KnetLink, *, count: int = 1) -> None:
    for _ in range(count):
        readable, _, _ = select.select(list(link.data_filenos()), [], [], 1)
        link.receive(readable, 64, 0)


def send(source: str, port: int, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((source, 0))
        for each in datagrams:
            stranger.sendto(each, ("127.0.0.1", port))


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_an_address_that_is_not_listed_is_said(said: Callable[[], list[str]], multicast: bool) -> None:
    with ExitStack() as stack:
        port = reserve_port(stack)
        link = Link(settings(1, port, multicast=multicast), Counter())
        stack.callback(link.close)
        link.tend((), 0)
        link.receive(set(), 64, 0)
        send("127.0.0.9", port, join(2))  # the kernel drops it, and says so with its count
        link.receive(set(), 64, SECOND_NS)
        send("127.0.0.9", port, join(2), join(2))
        send("127.0.0.2", port, join(2))
        readable, _, _ = select.select(list(link.data_filenos()), [], [], 1)
        taken = link.receive(set(readable), 64, SECOND_NS + 1)
        assert [(frame, source[0]) for frame, source in taken] == [(join(2), "127.0.0.2")]
        (line,) = [line for line in said() if "It came from" in line]
        assert "It came from 127.0.0.9: its address is not in the nodelist; write the same nodelist on all" in line
        assert link.status(0)["strangers"][0]["address"] == "127.0.0.9"
        dropped = link.more_counters()["rx_dropped_by_kernel"]
        send("127.0.0.9", port, join(2))
        assert link.more_counters()["rx_dropped_by_kernel"] == dropped + 1, "the door is shut again"


def test_the_door_is_opened_now_and_then_and_never_to_a_flood() -> None:
    count, opened = [0], list[str]()
    peephole = Peephole(lambda: count[0], lambda: opened.append("open"), lambda: opened.append("close"))
    for tenth in range(300):
        count[0] += 2
        peephole.tend(tenth * SECOND_NS // 10)
    # In each round a second or two to count, half a second open, and ten of pause.
    assert opened == ["open", "close"] * 3
    del opened[:]
    for tenth in range(300, 600):
        count[0] += DROPPED_MAX
        peephole.tend(tenth * SECOND_NS // 10)
    assert opened in ([], ["close"])


def test_without_strangers_the_door_stays_shut() -> None:
    opened = list[str]()
    peephole = Peephole(lambda: 7, lambda: opened.append("open"), lambda: opened.append("close"))
    for second in range(100):
        peephole.tend(second * SECOND_NS)
    assert opened == []


def test_a_node_that_does_not_listen_is_said_once_until_it_answers(said: Callable[[], list[str]]) -> None:
    with ExitStack() as stack:
        port = reserve_port(stack)
        link = Link(settings(1, port, multicast=False), Counter())
        stack.callback(link.close)
        link.tend((), 0)
        deaf = f"Node 2 (127.0.0.2) takes no packets at port {port}: it does not run, or has another mcastport."
        for expected in (1, 1):
            link.send([(2, token())])
            poll = select.poll()
            for each in link.data_filenos():
                poll.register(each, 0)
            link.read_errors([descriptor for descriptor, _ in poll.poll(1000)])
            assert [line for line in said() if "takes no packets" in line] == [deaf] * expected
        assert link.deaf == {2}
        link.heard(join(2), "127.0.0.2")
        assert link.deaf == set()


def test_with_packet_security_other_transports_are_named(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    key = SecuritySettings("aes256-gcm", "none", key=bytes(range(128)))
    with ExitStack() as stack:
        port = reserve_port(stack)
        guard: Protection = protection(tmp_path, key)
        link = Link(settings(1, port, multicast=False), Counter(), guard)
        stack.callback(link.close)
        link.tend((), 0)
        send("127.0.0.2", port, PING)
        send("127.0.0.3", port, join(3))
        receive(link)
        first, second = (line for line in said() if "It came from" in line)
        assert "127.0.0.2 (node 2): it is a packet of transport: knet, in the clear; write transport: knet" in first
        assert "127.0.0.3 (node 3): it is a packet of udp or udpu without packet security; write the same" in second
        assert [each["address"] for each in link.status(0)["strangers"]] == ["127.0.0.2", "127.0.0.3"]


def knet_config(directory: Path, port: int, cipher: str) -> NodeConfig:
    security = SecuritySettings()
    if cipher != "none":
        security = SecuritySettings("aes256", "sha256", key=bytes(range(128)))
    names = {node: {0: f"127.0.0.{node}"} for node in (1, 2, 3)}
    return dataclasses.replace(
        node_config(directory, security),
        transport="knet",
        members={node: (links[0],) for node, links in names.items()},
        knet=KnetSettings(links={0: ConfiguredLink(port, 1, 1000, 2000, 2)}, addresses=names),
    )


@pytest.mark.parametrize(
    ("cipher", "source", "datagram", "text"),
    [
        ("none", "127.0.0.2", join(2), "127.0.0.2 (node 2): it is a packet of udp or udpu without packet security"),
        ("aes256", "127.0.0.2", join(2), "127.0.0.2 (node 2): it is a packet of udp or udpu without packet security"),
        ("aes256", "127.0.0.2", b"R\x01" + bytes(80), "it is a packet of udp or udpu with Rondo's packet security"),
        ("aes256", "127.0.0.2", PING, "127.0.0.2 (node 2): it came in the clear while this node encrypts; write the"),
        ("none", "127.0.0.2", b"\x99" * 80, "it is no knet packet in the clear, as this node sends them; write the"),
        ("aes256", "127.0.0.2", b"\x99" * 80, "it has an invalid digest; use the same key file, crypto_cipher and"),
        (
            "none",
            "127.0.0.2",
            encode_ping(Ping(3, 0, 5, 0, timed=True)),
            "its host id is not that of the node that has",
        ),
        ("none", "127.0.0.9", PING, "127.0.0.9: its address is not in the nodelist; write the same nodelist"),
    ],
)
def test_knet_names_whom_it_refuses(
    tmp_path: Path, cipher: str, source: str, datagram: bytes, text: str, said: Callable[[], list[str]]
) -> None:
    from services.totem.protection import shared_key

    with ExitStack() as stack:
        port = reserve_port(stack)
        config = knet_config(tmp_path, port, cipher)
        link = KnetLink(knet_settings(config, shared_key(config)), Counter(), 0)
        stack.callback(link.close)
        link.tend((), 0)
        link.tend((), 2 * SECOND_NS)  # by now the names are known, and with them who may send
        link.receive(set(), 64, 0)
        send("127.0.0.9", port, PING)
        link.receive(set(), 64, SECOND_NS)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stranger.bind((source, port))
            stranger.sendto(datagram, ("127.0.0.1", port))
        receive(link)
        (line,) = [line for line in said() if "It came from" in line]
        assert text in line
        assert link.status(0)["strangers"][0]["address"] == source
