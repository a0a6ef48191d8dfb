"""Digests of the options that must be the same on all nodes. Nodes compare them."""

from __future__ import annotations

import hashlib
from dataclasses import astuple
from typing import Any

from rondo.config import NodeConfig
from rondo.protocol.envelope import pack

DIGEST_BYTES = 16
TIMERS = (
    "token_timeout_ms", "token_retransmit_ms", "token_hold_ms", "token_warning_percent", "join_timeout_ms",
    "send_join_ms", "consensus_timeout_ms", "consensus_early_ms", "merge_timeout_ms", "downcheck_timeout_ms",
    "fail_recv_const", "seqno_unchanged_const", "miss_count_const", "cancel_token_hold_on_retransmit",
)  # fmt: skip
"""Fields of NodeConfig that must be the same on all nodes."""


def _addresses(config: NodeConfig) -> list[tuple[int, list[Any]]]:
    """Addresses by ascending node; with knet also by link."""
    if config.knet.addresses:
        return [(node, sorted(links.items())) for node, links in sorted(config.knet.addresses.items())]
    return [(node, list(addresses)) for node, addresses in sorted(config.members.items())]


def digests_of(config: NodeConfig) -> dict[str, bytes]:
    """Digests, each by a name for its options."""
    same: dict[str, Any] = {
        "nodelist": [
            [node, where, config.node_names.get(node, ""), config.quorum.node_votes.get(node, 0)]
            for node, where in _addresses(config)
        ],
        "quorum": [config.quorum.expected_votes, config.quorum.two_node],
        "totem": [getattr(config, name) for name in TIMERS],
        "totem.config_version": config.config_version,
    }
    if config.knet.links:
        knet = [[number, *astuple(link)] for number, link in sorted(config.knet.links.items())]
        same["totem.interface"] = [knet, config.knet.mode]
    return {name: hashlib.sha256(pack(value)).digest()[:DIGEST_BYTES] for name, value in same.items()}
