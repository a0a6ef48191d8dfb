"""What the machine leaves for its host: datagrams to send, and what there is to be said."""

from __future__ import annotations

from typing import NamedTuple

from services.totem.transport.knet.peer_link import Address

EVENTS_MAX = 1024
"""Events that are kept until the host takes them; more are counted and dropped."""


class Transmission(NamedTuple):
    """Datagrams to send in their order, over one link to one address."""

    link: int
    address: Address
    datagrams: list[bytes]


class LinkEvent(NamedTuple):
    """What became of a link. `what`: up, down, carriers (others carry data now), mtu."""

    what: str
    node: int
    link: int
    """-1: of no link in particular."""
    value: int = 0
