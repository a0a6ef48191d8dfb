"""Control's configuration: the node's configuration as votequorum's options and as cmap keys."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from rondo.config import NodeConfig
from rondo.config.node import QuorumSettings
from services.control.cmap.values import Value
from services.control.config_keys import keys_of
from services.control.digests import digests_of
from services.control.quorum.settings import PROVIDER, Options


@dataclass(frozen=True, slots=True)
class Setup:
    """Plain values. They stay the same until the next reload."""

    node: int
    config_version: int = 0
    options: Options | None = None
    """None: there is no quorum provider."""
    nodelist: dict[int, int] | None = None
    """Votes by node; None = there is no nodelist."""
    names: dict[int, str] = field(default_factory=dict)
    addresses: dict[int, tuple[str, ...]] = field(default_factory=dict)
    keys: dict[str, Value] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    """Digests of the options that must be the same on all nodes."""
    packed: bytes = b""
    """The configuration that this is made from, as NodeConfig packs it."""


CONFIGURED = sorted({each.name for each in fields(Options)} & {each.name for each in fields(QuorumSettings)})
"""The fields that Options and QuorumSettings share: they are copied unchanged."""


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
        dict(keys_of(config)),
        digests_of(config),
        config.to_msgpack(),
    )
