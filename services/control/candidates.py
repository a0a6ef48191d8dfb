"""The configuration that a reload brings: what control has to say to it, and how it comes into force here.

Reading the file, and what may change at all, is `rondo.config.candidate`, in another process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from rondo.config import NodeConfig, NodeConfigError
from rondo.protocol.envelope import pack
from services.control.cfg.reload import Candidate
from services.control.cmap.keymap import Keymap
from services.control.cmap.values import Type, Value
from services.control.quorum.settings import Settings, SettingsError, reloaded, settle
from services.control.quorum.votequorum import Votequorum
from services.control.setup import Setup, setup_of

DIGEST_BYTES = 16
IN_PROGRESS_KEYS = ("config.reload_in_progress", "config.totemconfig_reload_in_progress")
VOTES_KEYS = ("quorum.expected_votes", "quorum.two_node", "quorum.votes")
"""Programs may set these, and a reload undoes that."""
TIMERS = (
    "token_timeout_ms", "token_retransmit_ms", "token_hold_ms", "token_warning_percent", "join_timeout_ms",
    "send_join_ms", "consensus_timeout_ms", "consensus_early_ms", "merge_timeout_ms", "downcheck_timeout_ms",
    "fail_recv_const", "seqno_unchanged_const", "miss_count_const", "cancel_token_hold_on_retransmit",
)  # fmt: skip
"""Fields of NodeConfig that have to be the same on all nodes."""


def judged(candidate: Candidate, members: Sequence[int], setup: Setup, tracking_barrier: int) -> Candidate:
    """The candidate with what this node has against it, in the present ring; without any, with its digests."""
    if candidate.config is None:
        return candidate
    try:
        config = NodeConfig.from_msgpack(candidate.config)
        new = setup_of(config)
        faults = [
            f"{config.config_file}: nodelist: node {node} is in the ring and not in the list; stop it first "
            f"(`rondo stop` there, or `rondo kill {node}`)"
            for node in members
            if config.members and node not in config.members
        ]
        if new.options is not None:
            settled(setup, new, tracking_barrier)
    except (NodeConfigError, SettingsError) as error:
        faults = [str(error)]
    if faults:
        return Candidate(None, faults)
    return candidate._replace(digests=_digests(config))


def _addresses(config: NodeConfig) -> list[tuple[int, list[Any]]]:
    """By ascending node; with knet by link."""
    if config.knet.addresses:
        return [(node, sorted(links.items())) for node, links in sorted(config.knet.addresses.items())]
    return [(node, list(addresses)) for node, addresses in sorted(config.members.items())]


def _digests(config: NodeConfig) -> dict[str, bytes]:
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


def settled(old: Setup, new: Setup, tracking_barrier: int) -> Settings:
    """Votequorum's settings after a reload. Raises `SettingsError`."""
    assert old.options is not None
    assert new.options is not None
    at_start, _ = settle(old.options, old.node, old.nodelist)
    options = reloaded(old.options, at_start, new.options)
    return settle(options, new.node, new.nodelist, tracking_barrier)[0]


def come_into_force(packed: bytes, old: Setup, keys: Keymap, votes: Votequorum | None) -> Setup:
    """Change keys and votes; the new setup."""
    new = setup_of(NodeConfig.from_msgpack(packed))
    _note_progress(keys, is_on=True)
    _replace_keys(keys, old.keys, new.keys)
    if votes is not None and new.options is not None:
        votes.reload(settled(old, new, votes.tracking_barrier))
    _note_progress(keys, is_on=False)
    return new


def _note_progress(keys: Keymap, *, is_on: bool) -> None:
    for key in IN_PROGRESS_KEYS:
        keys.put(key, Value(Type.U8, int(is_on)))


def _replace_keys(keys: Keymap, old: Mapping[str, Value], new: Mapping[str, Value]) -> None:
    """Those that programs have set stay, unless they are the file's."""
    for key in (*old, *VOTES_KEYS):
        if key not in new:
            keys.drop(key)
    for key, value in new.items():
        keys.put(key, value)
