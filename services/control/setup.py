"""What control is made with: the node's configuration as votequorum's options and as keys of cmap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from rondo.config import NodeConfig
from rondo.config.node import QuorumSettings
from services.control.cmap.values import Type, Value
from services.control.digests import digests_of
from services.control.quorum.settings import PROVIDER, Options


@dataclass(frozen=True, slots=True)
class Setup:
    """Plain values; the same from one reload to the next."""

    node: int
    config_version: int = 0
    options: Options | None = None
    """None: there is no provider of quorum."""
    nodelist: dict[int, int] | None = None
    """Votes by node; None = there is no nodelist."""
    names: dict[int, str] = field(default_factory=dict)
    addresses: dict[int, tuple[str, ...]] = field(default_factory=dict)
    keys: dict[str, Value] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    """Of what has to be the same on all nodes."""
    packed: bytes = b""
    """The configuration that this is made of, as NodeConfig packs it."""


CONFIGURED = sorted({each.name for each in fields(Options)} & {each.name for each in fields(QuorumSettings)})
"""What votequorum is made with just as it is configured: the fields of one name in both."""


def setup_of(config: NodeConfig) -> Setup:
    """The setup of a node with this configuration."""
    quorum = config.quorum
    options = Options(PROVIDER, **{name: getattr(quorum, name) for name in CONFIGURED})
    addresses = config.members
    if config.knet.addresses:
        addresses = {node: tuple(links.values()) for node, links in config.knet.addresses.items()}
    return Setup(
        config.node_id,
        config.config_version,
        options if quorum.enabled else None,
        dict(quorum.node_votes) or None,
        dict(config.node_names),
        dict(addresses),
        dict(_keys(config)),
        digests_of(config),
        config.to_msgpack(),
    )


def _u8(value: bool) -> Value:
    return Value(Type.U8, int(value))


def _u32(value: int) -> Value:
    return Value(Type.U32, value)


def _text(value: str) -> Value:
    return Value(Type.STR, value)


def _keys(config: NodeConfig) -> Iterator[tuple[str, Value]]:
    yield "totem.version", _u32(2)
    yield "totem.transport", _text(config.transport)
    yield "totem.netmtu", _u32(config.netmtu)
    if config.cluster_name:
        yield "totem.cluster_name", _text(config.cluster_name)
    if config.config_version:
        yield "totem.config_version", Value(Type.U64, config.config_version)
    yield "totem.crypto_cipher", _text(config.security.cipher)
    yield "totem.crypto_hash", _text(config.security.hash)
    yield from _timers(config)
    yield from _nodelist(config)
    if config.quorum.enabled:
        yield from _quorum(config)
    for uid in config.allowed_uids:
        yield f"uidgid.config.uid.{uid}", _u8(True)
    for gid in config.allowed_gids:
        yield f"uidgid.config.gid.{gid}", _u8(True)


def _timers(config: NodeConfig) -> Iterator[tuple[str, Value]]:
    timers = {
        "token": config.token_timeout_ms,
        "token_retransmit": config.token_retransmit_ms,
        "hold": config.token_hold_ms,
        "token_warning": config.token_warning_percent,
        "consensus": config.consensus_timeout_ms,
        "join": config.join_timeout_ms,
        "send_join": config.send_join_ms,
        "merge": config.merge_timeout_ms,
        "downcheck": config.downcheck_timeout_ms,
        "fail_recv_const": config.fail_recv_const,
        "seqno_unchanged_const": config.seqno_unchanged_const,
        "miss_count_const": config.miss_count_const,
        "window_size": config.window_size,
        "max_messages": config.max_messages,
    }
    for name, value in timers.items():
        yield f"runtime.config.totem.{name}", _u32(value)


def _nodelist(config: NodeConfig) -> Iterator[tuple[str, Value]]:
    """Positions are those of the file."""
    for position, (node, votes) in enumerate(config.quorum.node_votes.items()):
        below = f"nodelist.node.{position}."
        yield f"{below}nodeid", _u32(node)
        yield f"{below}quorum_votes", _u32(votes)
        if name := config.node_names.get(node):
            yield f"{below}name", _text(name)
        links = config.knet.addresses.get(node) or dict(enumerate(config.members.get(node, ())))
        for link, address in links.items():
            yield f"{below}ring{link}_addr", _text(address)
        if node == config.node_id:
            yield "nodelist.local_node_pos", _u32(position)


def _quorum(config: NodeConfig) -> Iterator[tuple[str, Value]]:
    quorum = config.quorum
    yield "quorum.provider", _text(PROVIDER)
    if quorum.expected_votes:
        yield "quorum.expected_votes", _u32(quorum.expected_votes)
    if not quorum.node_votes:
        yield "quorum.votes", _u32(quorum.votes)
    if quorum.last_man_standing:
        yield "quorum.last_man_standing_window", _u32(quorum.last_man_standing_window_ms)
    if quorum.auto_tie_breaker:
        yield "quorum.auto_tie_breaker_node", _text(quorum.auto_tie_breaker_node)
    switches = {
        "two_node": quorum.two_node,
        "wait_for_all": quorum.wait_for_all,
        "last_man_standing": quorum.last_man_standing,
        "auto_tie_breaker": quorum.auto_tie_breaker,
        "allow_downscale": quorum.allow_downscale,
        "expected_votes_tracking": quorum.expected_votes_tracking,
    }
    for name, is_on in switches.items():
        if is_on:
            yield f"quorum.{name}", _u8(True)
