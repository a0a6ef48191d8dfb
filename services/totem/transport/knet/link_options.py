"""Configuration of the links (corosync.conf(5), section totem and its interfaces)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

PORT = 5405
"""UDP port of link 0. The port of link L is L higher, unless it is configured."""


class LinkMode(StrEnum):
    """Which links carry data. Each sender decides for itself."""

    PASSIVE = "passive"
    """The link with the highest priority that is up; among equals the one with the lowest number."""
    ACTIVE = "active"
    """All links that are up: each packet goes over each."""
    RR = "rr"
    """The links take turns, frame by frame."""


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Options of one link, the same for each host."""

    port: int = PORT
    priority: int = 1
    ping_interval_ms: int = 250
    ping_timeout_ms: int = 500
    pong_count: int = 2
    """A link that went down comes up after one more pong than this."""


@dataclass(frozen=True, slots=True)
class KnetOptions:
    """All options of knet."""

    node_id: int
    """This node: 1..65535."""
    links: Mapping[int, LinkOptions] = field(default_factory=dict)
    """By number."""
    mode: LinkMode = LinkMode.PASSIVE
    pmtud_interval_ms: int = 30_000
    mtu: int = 0
    """Largest IP packet, bytes; 0: find it out, link by link."""
    compression: str = "none"
    compression_threshold: int = 100
    """Shorter frames are not compressed."""
    compression_level: int = 0
    """0: the codec's default."""
    block_unlisted_ips: bool = True
    """Accept packets only from the address and port of a link."""
