"""The plan of a run: everything that happens in it follows from the seed.

This is swarm testing. A seed first draws what may happen in its run at all: the size of the ring, timers, windows,
packet sizes, the first sequence number, kinds of faults. Then it draws the faults and messages themselves. So each run
is extreme in some respects, and combinations occur that an average run would never show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from services.totem.ring.options import (
    MESSAGE_SIZE_MAX,
    RingOptions,
    consensus_ms,
    token_hold_ms,
    token_retransmit_ms,
)
from services.totem.security.ring_keys import Pace
from services.totem.security.suites import SUITES
from tests.simulation.faults import FAULTS, SEALED_FAULTS, Setting
from tests.simulation.knet_faults import KNET_FAULTS, draw_kinds
from tests.simulation.knet_plan import has_knet, knet_plan, nodes_of, options_of
from tests.simulation.knet_wires import KnetPlan
from tests.simulation.operations import Op
from tests.simulation.world import MS

MESSAGES_MIN = 300
FAULTS_MIN = 5
FAULTS_MAX = 12
PHASE_MS = 30_000
"""Faults and messages begin within this time of the start, in virtual milliseconds."""
SEALED_SHARE = 0.2
"""Share of the seeds whose packets are sealed. It is small because sealing and opening take time."""
SECRECY_SHARE = 1 / 2
"""Share of the seeds without knet, which makes a third of all seeds. In their runs packets are sealed, rings are
forward secret, and keys get stolen."""
THEFTS = 4
KNET_QUEUE_BYTES_MIN = 1 << 18
"""The smallest receive buffer of a node with knet, where frames may have 64 KiB."""
_PACKETS_MAX = 700
"""About how many packets the messages of one run fill. This bounds the time that a run takes."""
_LARGE = MESSAGE_SIZE_MAX - 5


@dataclass(frozen=True, slots=True)
class NodePlan:
    """The settings of one node."""

    node: int
    options: RingOptions
    start_ms: float
    stored: int
    queue_bytes_max: int
    separate_sockets: bool
    wake_latency_ns: int
    sync_delay_ns: int
    receive_bytes: int


@dataclass(frozen=True, slots=True)
class Item:
    """A fault or a burst of messages, with all operations that belong to it. A run can leave out single items."""

    kind: str
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    seed: int
    nodes: tuple[NodePlan, ...]
    delay_ns: int
    jitter_ns: int
    items: tuple[Item, ...]
    components: tuple[tuple[int, ...], ...]
    """The groups of nodes that can reach each other when the faults are over."""
    phase_ms: float
    suite: tuple[str, str] | None = None
    """The suite that seals packets, a key of SUITES. None: packets are not sealed."""
    knet: KnetPlan | None = None
    """How knet links the nodes. None: the run is without knet."""
    secrecy: dict[int, str] | None = None
    """Each node's totem.forward_secrecy. None: packets are not sealed, or all nodes have it off."""
    pace: Pace = Pace()  # noqa: RUF009 - a tuple
    """When epochs of a ring end."""

    @property
    def faults(self) -> list[Item]:
        """The items that are faults."""
        return [item for item in self.items if item.kind != "burst"]


def make_plan(seed: int) -> Plan:
    """The plan of a seed: always the same for the same seed."""
    draw = Random(f"plan {seed}")
    count = draw.choices(range(2, 17), weights=(20, 36, 32, 24, 16, 10, 8, 6, 4, 3, 3, 2, 2, 2, 2))[0]
    ids = _node_ids(draw, count)
    if has_knet(seed):
        ids = nodes_of(seed, ids)
        count = len(ids)
    base = _options(draw, ids)
    delay_ns = _delay(draw, count, base.token_timeout_ms)
    setting = Setting(draw, ids, base.token_timeout_ms, base.consensus_timeout_ms)
    whole = count < 3 or draw.random() < 0.85
    suite, attacks = _sealed(setting, seed)
    nodes = _nodes(draw, ids, base)
    secrecy, pace, thefts = _secrecy(ids, seed)
    if secrecy is not None:
        suite = suite or ("aes256-gcm", "none")
        if "yes" in secrecy.values():
            nodes = tuple(replace(node, options=replace(node.options, like_corosync=False)) for node in nodes)
    plan = Plan(
        seed=seed,
        nodes=nodes,
        delay_ns=delay_ns,
        jitter_ns=draw.choice((0, delay_ns // 4, 2 * delay_ns)),
        items=(*_faults(setting), *_bursts(draw, ids, base, draw.choice((0.0, 0.1, 0.1, 0.5, 1.0))), *attacks, *thefts),
        components=(ids,) if whole else setting.sides(2),
        phase_ms=PHASE_MS,
        suite=suite,
        secrecy=secrecy,
        pace=pace,
    )
    return _linked(plan, setting) if has_knet(seed) else plan


def _linked(plan: Plan, setting: Setting) -> Plan:
    """This plan with several links between each two nodes. Packets are not sealed, as knet has its own encryption."""
    setting = setting._replace(draw=Random(f"knet faults {plan.seed}"))
    knet = knet_plan(plan.seed, setting.token_ms)
    links = tuple(knet.links)
    faults = []
    for kind in draw_kinds(setting.draw):
        at = setting.draw.uniform(2000, PHASE_MS - 500)
        faults.append(Item(kind, tuple(Op(*step) for step in KNET_FAULTS[kind](setting, at, links))))
    # A frame that is larger than the receive buffer would be lost each time it is sent.
    nodes = [
        replace(
            node, separate_sockets=False, options=options_of(plan.seed, node.options, setting.nodes),
            queue_bytes_max=max(node.queue_bytes_max, KNET_QUEUE_BYTES_MIN),
        )
        for node in plan.nodes
    ]  # fmt: skip
    others = [item for item in plan.items if item.kind not in SEALED_FAULTS]
    return replace(plan, nodes=tuple(nodes), items=(*others, *faults), suite=None, knet=knet)


def _secrecy(ids: tuple[int, ...], seed: int) -> tuple[dict[int, str] | None, Pace, list[Item]]:
    """Draw forward secrecy and thefts of memory, in a share of the seeds. With "yes" every ring is forward secret, with
    "auto" a ring whose members all have it. The draw is separate, so the rest of the plan does not change."""
    draw = Random(f"secrecy {seed}")
    if has_knet(seed) or draw.random() >= SECRECY_SHARE:
        return None, Pace(), []
    everywhere = draw.choices(("auto", "yes"), weights=(2, 3))[0]
    secrecy = dict.fromkeys(ids, everywhere)
    if everywhere == "auto" and draw.random() < 0.2:
        secrecy[draw.choice(ids)] = "no"
    epoch_ms = draw.choice((1500, 4000, 12_000))
    pace = Pace(epoch_ms * MS, draw.choice((50, 400, 1 << 24)), kept_ns=epoch_ms // 3 * MS, look_ns=100 * MS)
    times = sorted(draw.uniform(1000, PHASE_MS) for _ in range(THEFTS))
    return secrecy, pace, [Item("theft", (Op(at, "steal_memory", (draw.choice(ids),)),)) for at in times]


def _sealed(setting: Setting, seed: int) -> tuple[tuple[str, str] | None, list[Item]]:
    """Draw a suite and attacks, in a share of the seeds. The draw is separate, so the rest of the plan does not
    change."""
    draw = Random(f"sealed {seed}")
    if draw.random() >= SEALED_SHARE:
        return None, []
    suite = draw.choices((("aes256-gcm", "none"), draw.choice(sorted(SUITES))), weights=(2, 1))[0]
    setting = setting._replace(draw=draw)
    kinds = ["forgeries", "replays", "replays", "replays"] + ["key_change"] * (draw.random() < 0.6)
    attacks = [(kind, draw.uniform(2000, PHASE_MS - 2500)) for kind in kinds]
    return suite, [Item(kind, tuple(SEALED_FAULTS[kind](setting, at))) for kind, at in attacks]


def _node_ids(draw: Random, count: int) -> tuple[int, ...]:
    """Node ids: mostly 1, 2, 3 and so on, sometimes any numbers of 32 bits."""
    if draw.random() < 0.8:
        return tuple(range(1, count + 1))
    return tuple(sorted(draw.sample(range(1, 1 << 32), count)))


def _options(draw: Random, ids: tuple[int, ...]) -> RingOptions:
    """The options that all nodes have in common."""
    short = draw.randint(200, 500) if len(ids) < 8 else draw.randint(400, 700)
    token = draw.choices((3000, short, draw.randint(600, 1200)), weights=(1, 6, 4))[0]
    retransmit = token_retransmit_ms(token, 4 if token == 3000 else draw.choice((1, 2, 4)))
    small = draw.random() < 0.25
    rare = draw.random() < 0.15
    return RingOptions(
        members=frozenset(ids) if draw.random() < 0.7 else None,
        token_timeout_ms=token,
        token_retransmit_ms=retransmit,
        token_hold_ms=max(14, token_hold_ms(retransmit)),
        token_warning_percent=draw.choice((0, 50, 75)),
        join_timeout_ms=50 if token == 3000 else draw.randint(20, 50),
        send_join_ms=draw.choice((0, 0, 0, 15)),
        consensus_timeout_ms=consensus_ms(token),
        consensus_early_ms=draw.choice((0, 1, token // 6, 500)),
        merge_timeout_ms=200 if token == 3000 else draw.randint(60, 200),
        fail_recv_const=draw.choice((20, 60)) if draw.random() < 0.2 else 2500,
        seqno_unchanged_const=30 if rare else draw.randint(1, 6),
        miss_count_const=draw.choice((1, 2, 5, 5)),
        window_size=draw.randint(4, 16) if small else draw.choice((50, 50, 100, 300)),
        max_messages=draw.randint(1, 5) if small else draw.choice((17, 17, 40)),
        netmtu=draw.choices((1500, draw.randint(400, 1500), draw.randint(1500, 9000)), weights=(6, 2, 2))[0],
        cancel_token_hold_on_retransmit=draw.random() < 0.2,
        wide_windows=draw.random() < 0.3,
        large_packets=draw.random() < 0.5,
        initial_sequence=_initial_sequence(draw),
        early_hold=draw.random() < 0.7,
    )


def _initial_sequence(draw: Random) -> int:
    """The first sequence number: 0, or shortly before an edge of 32-bit arithmetic. One edge is where numbers wrap. The
    others are where Corosync's comparison of two numbers changes its answer."""
    if draw.random() < 0.6:
        return 0
    edge = draw.choice((1 << 32, 1 << 32, 1 << 31, (1 << 31) + 0x10000))
    return edge - draw.choice((1, 5, 40, 200))


def _delay(draw: Random, count: int, token_ms: int) -> int:
    """A link's delay, ns. With it the token comes round at least twenty times within its time-out."""
    most_us = min(2000.0, token_ms * 1000 / 20 / (count + 1))
    return int(draw.uniform(200, max(250.0, most_us)) * 1000)


def _nodes(draw: Random, ids: tuple[int, ...], base: RingOptions) -> tuple[NodePlan, ...]:
    at_once = draw.random() < 0.5
    latency_ns = draw.choice((0, 0, 0, 0, 50_000, 300_000))
    sync_delay_ns = draw.choice((0, 0, 2_000_000, 60_000_000))
    one_list = draw.random() < 0.5
    like_corosync = _like_corosync(draw, ids)
    accelerated = draw.choice((0, 1, 3, 10, 10, 10, base.max_messages))
    nodes = []
    for node in ids:
        services = (0, 2) if one_list else draw.choice(((0, 2), (2,), (0, 2, 3, 5), (0, 2, 41)))
        options = replace(
            base, sync_services=services, like_corosync=node in like_corosync,
            accelerated_window=accelerated if draw.random() < 0.8 else draw.choice((0, 2, 20)),
        )  # fmt: skip
        queue_bytes_max = draw.choice((20_000, 200_000, 1 << 20))
        told = draw.choice((0, 60_000, 200_000, 1 << 20)) if draw.random() < 0.2 else 400_000
        nodes.append(
            NodePlan(
                node=node,
                options=options,
                start_ms=0.0 if at_once else draw.uniform(0, 1500),
                stored=draw.choice((0, 0, 4 * draw.randrange(1000))),
                queue_bytes_max=queue_bytes_max,
                separate_sockets=draw.random() < 0.5,
                wake_latency_ns=latency_ns,
                sync_delay_ns=sync_delay_ns,
                # The kernel counts a packet twice. One that is larger than the whole buffer would never get in.
                receive_bytes=min(told, 2 * queue_bytes_max),
            )
        )
    return tuple(nodes)


def _like_corosync(draw: Random, ids: tuple[int, ...]) -> frozenset[int]:
    """The nodes that do only what Corosync's nodes do: in most runs none, in some a few, now and then all."""
    kind = draw.choices(("none", "some", "all"), weights=(6, 5, 1))[0]
    if kind == "some":
        return frozenset(draw.sample(ids, draw.randint(1, len(ids) - 1)))
    return frozenset(ids if kind == "all" else ())


def _faults(setting: Setting) -> list[Item]:
    """Faults of some kinds. They begin at random times or, in some runs, soon after each other."""
    draw = setting.draw
    kinds = draw.sample(sorted(FAULTS), draw.randint(3, len(FAULTS)))
    count = draw.randint(FAULTS_MIN, FAULTS_MAX)
    chained = draw.random() < 0.4
    items = []
    at = draw.uniform(2000, 8000)
    for _ in range(count):
        kind = draw.choice(kinds)
        items.append(Item(kind, tuple(FAULTS[kind](setting, at))))
        if chained and draw.random() < 0.7:
            at = min(at + draw.uniform(0, 1.5) * setting.token_ms, PHASE_MS - 500)
        else:
            at = draw.uniform(2000, PHASE_MS - 500)
    return items


def _bursts(draw: Random, ids: tuple[int, ...], base: RingOptions, safe_share: float) -> list[Item]:
    """Messages of all sizes that fit the budget of packets. They come in bursts, so that the ring is idle at times."""
    narrow = base.window_size < 17 or base.max_messages < 6
    size_max = draw.choice((60, 600, 3000)) if narrow else draw.choice((60, 1200, 5000, 60_000))
    budget = (_PACKETS_MAX // 3 if narrow else _PACKETS_MAX) * base.packet_size_max
    items = []
    wanted = MESSAGES_MIN + draw.randrange(60)
    while wanted > 0:
        count = min(wanted, draw.choice((1, 1, 5, 15, 30)))
        wanted -= count
        sizes = []
        for _ in range(count):
            size = min(int(size_max * draw.random() ** 3), max(0, budget))
            budget -= size + 30
            sizes.append(size)
        items.append(_burst_item(draw, ids, tuple(sizes), draw.random() < safe_share))
    if not narrow and base.netmtu >= 1000 and len(ids) < 9 and draw.random() < 0.06:
        items.append(_burst_item(draw, ids, (_LARGE - draw.choice((0, 0, 1, 4000)),), draw.random() < safe_share))
    return items


def _burst_item(draw: Random, ids: tuple[int, ...], sizes: tuple[int, ...], safe: bool) -> Item:
    return Item("burst", (Op(draw.uniform(0, PHASE_MS), "burst", (draw.choice(ids), sizes, safe)),))
