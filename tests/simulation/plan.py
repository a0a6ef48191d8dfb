"""From a seed to everything that happens in its run.

In the style of swarm testing, a seed first draws what is possible in its run at all - the size of the ring, timers,
windows, packet sizes, where sequence numbers start, which kinds of faults - and then the faults and messages
themselves. So each run is extreme in some respects, and combinations that an average run would never show come up.
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
"""Faults may begin within this long, virtual milliseconds."""
SEALED_SHARE = 0.2
"""Of the seeds: sealing and opening take time."""
SECRECY_SHARE = 1 / 2
"""Of the seeds without knet, so a third of all: packets are sealed, rings are forward secret, and keys get stolen."""
THEFTS = 4
KNET_QUEUE_BYTES_MIN = 1 << 18
"""What a socket takes at least where frames may have 64 KiB."""
_PACKETS_MAX = 700
"""Packets that the messages of one run fill, about: what bounds the time that a run takes."""
_LARGE = MESSAGE_SIZE_MAX - 5


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node."""

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
    """A fault or a burst of messages, with all that belongs to it. Items can be left out of a run one by one."""

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
    """Who is connected with whom when the faults are over."""
    phase_ms: float
    suite: tuple[str, str] | None = None
    """With what packets are sealed, if they are."""
    knet: KnetPlan | None = None
    """How the nodes are linked, if it is by several links."""
    secrecy: dict[int, str] | None = None
    """What each node has for totem.forward_secrecy; None: packets are not sealed, or it is off."""
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
    """The same with several links between each two nodes. (Knet has an encryption of its own.)"""
    setting = setting._replace(draw=Random(f"knet faults {plan.seed}"))
    knet = knet_plan(plan.seed, setting.token_ms)
    links = tuple(knet.links)
    faults = []
    for kind in draw_kinds(setting.draw):
        at = setting.draw.uniform(2000, PHASE_MS - 500)
        faults.append(Item(kind, tuple(Op(*step) for step in KNET_FAULTS[kind](setting, at, links))))
    # A frame that no socket takes would be lost for ever.
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
    """In a share of the seeds rings are forward secret: always, or as far as all members have it. Drawn apart."""
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
    """In a share of the seeds packets are sealed, and attacked. Drawn apart: the rest of a plan stays the same."""
    draw = Random(f"sealed {seed}")
    if draw.random() >= SEALED_SHARE:
        return None, []
    suite = draw.choices((("aes256-gcm", "none"), draw.choice(sorted(SUITES))), weights=(2, 1))[0]
    setting = setting._replace(draw=draw)
    kinds = ["forgeries", "replays", "replays", "replays"] + ["key_change"] * (draw.random() < 0.6)
    attacks = [(kind, draw.uniform(2000, PHASE_MS - 2500)) for kind in kinds]
    return suite, [Item(kind, tuple(SEALED_FAULTS[kind](setting, at))) for kind, at in attacks]


def _node_ids(draw: Random, count: int) -> tuple[int, ...]:
    """Mostly 1, 2, 3 ...; sometimes any 32 bits."""
    if draw.random() < 0.8:
        return tuple(range(1, count + 1))
    return tuple(sorted(draw.sample(range(1, 1 << 32), count)))


def _options(draw: Random, ids: tuple[int, ...]) -> RingOptions:
    """What all nodes have in common."""
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
    """0, or where the arithmetic on 32 bits gets interesting: about to wrap, or where Corosync's comparison turns."""
    if draw.random() < 0.6:
        return 0
    edge = draw.choice((1 << 32, 1 << 32, 1 << 31, (1 << 31) + 0x10000))
    return edge - draw.choice((1, 5, 40, 200))


def _delay(draw: Random, count: int, token_ms: int) -> int:
    """A link's delay, ns: such that the token comes round at least twenty times within its time-out."""
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
    """The nodes that do nothing that Corosync's do not: in most runs none, in some a few, now and then all."""
    kind = draw.choices(("none", "some", "all"), weights=(6, 5, 1))[0]
    if kind == "some":
        return frozenset(draw.sample(ids, draw.randint(1, len(ids) - 1)))
    return frozenset(ids if kind == "all" else ())


def _faults(setting: Setting) -> list[Item]:
    """Some kinds of faults, at random times or one soon after the other."""
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
    """Messages: in bursts, so that the ring has idle times too, of all sizes that fit the budget of packets."""
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
