"""What is configured of the links (corosync.conf(5), section totem and its interfaces)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

PORT = 5405
"""UDP port of link 0; that of link L is L higher, unless another one is configured."""


class LinkMode(StrEnum):
    """Which of several links carries data. Each sender decides for itself."""

    PASSIVE = "passive"
    """The one with the highest priority that is up; of equals that with the lowest number."""
    ACTIVE = "active"
    """All that are up, each packet on each."""
    RR = "rr"
    """One after the other, frame by frame."""


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """One link, the same to each host."""

    port: int = PORT
    priority: int = 1
    ping_interval_ms: int = 250
    ping_timeout_ms: int = 500
    pong_count: int = 2
    """One more pong than this brings a link up that went down."""


@dataclass(frozen=True, slots=True)
class KnetOptions:
    """All of it."""

    node_id: int
    """This node: 1..65535."""
    links: Mapping[int, LinkOptions] = field(default_factory=dict)
    """By number."""
    mode: LinkMode = LinkMode.PASSIVE
    pmtud_interval_ms: int = 30_000
    mtu: int = 0
    """IP packets have so many bytes at most; 0: find out, link by link."""
    compression: str = "none"
    compression_threshold: int = 100
    """Shorter frames are not compressed."""
    compression_level: int = 0
    """0: that of the codec."""
    block_unlisted_ips: bool = True
    """Take packets only from the address and port of a link."""
