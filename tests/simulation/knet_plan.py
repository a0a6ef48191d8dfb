"""Draws the knet links of a run from its seed. Every third seed has knet.

The links have random generators of their own. So knet does not change the messages and the other faults of a seed.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from services.totem.transport.knet.link_options import LinkMode, LinkOptions
from tests.simulation.knet_wires import KnetPlan

if TYPE_CHECKING:
    from services.totem.ring.options import RingOptions

EVERY, THE = 3, 2
"""A seed has knet if its number, divided by EVERY, leaves the remainder THE."""
_SECURITY = (("none", "none"), ("none", "sha1"), ("aes128", "sha1"), ("aes256", "sha256"))
NODES_MAX = 6
"""Every node pings every other node on every link. Larger rings take long to simulate, and show nothing more."""


def has_knet(seed: int) -> bool:
    """Whether the nodes of this seed's run are linked by knet."""
    return seed % EVERY == THE


def nodes_of(seed: int, ids: tuple[int, ...]) -> tuple[int, ...]:
    """The ids of the nodes if this seed has knet: 16 bits each, which is knet's limit, and at most NODES_MAX nodes."""
    if max(ids) > 0xFFFF:
        ids = tuple(sorted(Random(f"knet nodes {seed}").sample(range(1, 0x10000), len(ids))))
    return ids[:NODES_MAX]


def knet_plan(seed: int, token_ms: int) -> KnetPlan:
    """The links of this seed's run, and how knet uses them."""
    draw = Random(f"knet {seed}")
    count = draw.choices((1, 2, 3), weights=(1, 6, 2))[0]
    pong_count = draw.choice((1, 2, 2, 3))
    timeout_ms = max(40, token_ms // pong_count)
    same = draw.random() < 0.6
    cipher, hash_name = draw.choices(_SECURITY, weights=(5, 1, 1, 1))[0]
    interface_mtu = draw.choice((1500, 1500, 9000))
    priorities = [1 if same else draw.randrange(4) for _ in range(count)]
    return KnetPlan(
        links={
            number: LinkOptions(5405 + number, priority, timeout_ms // 2, timeout_ms, pong_count)
            for number, priority in enumerate(priorities)
        },
        mode=draw.choices(tuple(LinkMode), weights=(6, 2, 2))[0],
        cipher=cipher,
        hash=hash_name,
        compression=draw.choice(("none", "none", "zlib")),
        interface_mtu=interface_mtu,
        mtu=draw.choice((0, 0, 0, 1000)),
        pmtud_interval_ms=draw.choice((1000, 5000, 30_000)),
        ports_held=draw.random() < 0.5,
    )


def options_of(seed: int, base: RingOptions, ids: tuple[int, ...]) -> RingOptions:
    """The options of a run with knet. All nodes are in the nodelist, and packets may be as large as knet's frames."""
    netmtu = Random(f"knet netmtu {seed}").choice((base.netmtu, 1409, 9000, 65_536))
    return replace(base, members=frozenset(ids), netmtu=max(netmtu, base.netmtu))
