"""The state machine's output for its host: datagrams to send, and events to report."""

from __future__ import annotations

from typing import Final, NamedTuple

from services.totem.transport.knet.peer_link import Address

EVENTS_MAX: Final = 1024
"""Events that are kept until the host takes them; more are counted and dropped."""


class Transmission(NamedTuple):
    """Datagrams to send in order, over one link to one address."""

    link: int
    address: Address
    datagrams: list[bytes]


class LinkEvent(NamedTuple):
    """A change of a link. `what`: up, down, carriers (other links carry data now), mtu."""

    what: str
    node: int
    link: int
    """-1: no particular link."""
    value: int = 0
