"""Values that follow from others by Corosync's formulas: timers, multicast group, node identifiers, security."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from rondo.config.node import Cipher, Hash, IpVersion, KnetLink, Transport
from rondo.config.schema_node import Config
from rondo.config.schema_totem import Interface, Totem

WINDOW_BYTES_MAX = 256_000
"""Bytes on their way in one rotation before default kernel buffers overflow (corosync.conf(5), window_size)."""

ACCELERATED_WINDOW_DEFAULT = 10

EARLY_JOINS = 10
"""How many joins a member must leave unanswered before consensus_early counts it as failed."""

LINKS_MAX = 8
"""Links of knet have the numbers 0..7."""


@dataclass(frozen=True, slots=True)
class Timers:
    """The ring's effective timers, ms."""

    token_timeout_ms: int
    token_retransmit_ms: int
    token_hold_ms: int
    consensus_timeout_ms: int
    consensus_early_ms: int


def timers(totem: Totem, nodes: int) -> Timers:
    """The timers of a ring whose nodelist has `nodes` nodes (0 without a nodelist).

    token grows with the third and each further node. The other timers follow from the grown token (corosync.conf(5)).
    """
    token_ms = totem.token + max(nodes - 2, 0) * totem.token_coefficient
    retransmit_ms = totem.token_retransmit
    if retransmit_ms is None:
        retransmit_ms = int(token_ms / (totem.token_retransmits_before_loss_const + 0.2))
    hold_ms = int(retransmit_ms * 0.8 - 10) if totem.hold is None else totem.hold
    consensus_ms = consensus_least_ms(token_ms) if totem.consensus is None else totem.consensus
    early_ms = totem.consensus_early and min(consensus_ms, max(totem.consensus_early, EARLY_JOINS * totem.join))
    return Timers(token_ms, retransmit_ms, hold_ms, consensus_ms, early_ms)


def consensus_least_ms(token_timeout_ms: int) -> int:
    """The shortest consensus timeout, which is also the default."""
    return int(1.2 * token_timeout_ms)


@dataclass(frozen=True, slots=True)
class Windows:
    """How many packets may be on their way, and how many bytes may wait for one client."""

    window_size: int
    max_messages: int
    accelerated_window: int
    wide_windows: bool
    """Neither window_size nor max_messages is configured: both may be larger in rings of Rondo nodes only."""
    early_hold: bool
    """seqno_unchanged_const is not configured: rings of Rondo nodes only hold the token as soon as everything is
    sent."""
    large_packets: bool
    """netmtu is not configured: packets may be larger in rings of Rondo nodes only."""


def window_limit(netmtu: int) -> int:
    """The largest window_size and max_messages for packets of `netmtu` bytes."""
    return WINDOW_BYTES_MAX // netmtu


def windows(totem: Totem) -> Windows:
    """The effective windows: with large packets the defaults shrink to what the buffers can take."""
    limit = window_limit(totem.netmtu)
    max_messages = min(totem.max_messages, limit)
    accelerated = totem.accelerated_window
    if accelerated is None:
        accelerated = min(ACCELERATED_WINDOW_DEFAULT, max_messages)
    wide = totem.model_fields_set.isdisjoint(("window_size", "max_messages"))
    early, large = (each not in totem.model_fields_set for each in ("seqno_unchanged_const", "netmtu"))
    return Windows(min(totem.window_size, limit), max_messages, accelerated, wide, early, large)


def client_bytes_max(config: Config) -> int:
    """What may wait for one client, bytes."""
    given = config.cpg.client_bytes_max
    return config.system.log_bytes_max // 2 if given is None else given


def security(totem: Totem, *, knet: bool = False) -> tuple[Cipher, Hash]:
    """The effective cipher and HMAC. Contradictions were refused before. knet has no GCM, but can have an HMAC
    alone."""
    cipher = totem.crypto_cipher
    if knet:
        if cipher is None and totem.secauth is not False and not totem.crypto_hash:
            return "aes256", "sha256"
        if cipher in (None, "none"):
            return "none", totem.crypto_hash or "none"
    if cipher is None:
        cipher = "none" if totem.secauth is False else "aes256-gcm"
    if cipher == "none" or cipher.endswith("-gcm"):
        return cipher, "none"
    # secauth: on implies sha256 where no hash is given (corosync.conf(5)).
    return cipher, totem.crypto_hash or ("sha256" if totem.secauth else "none")


def link(config: Config) -> tuple[int, Interface]:
    """interface{} of link 0 and its place in the list. If there is none: a default one, and -1."""
    for index, interface in enumerate(config.totem.interface):
        if interface.linknumber == 0 and interface.ringnumber == 0:
            return index, interface
    return -1, Interface()


def transport(config: Config) -> Transport:
    """The effective transport."""
    if config.totem.transport:
        return config.totem.transport
    if has_marks_of_knet(config):
        return "knet"
    return "udpu" if config.nodelist.node or link(config)[1].member else "udp"


def has_marks_of_knet(config: Config) -> bool:
    """True if the file has options of knet. Without `transport` it then means knet, as Corosync 3 assumes of every
    file."""
    totem = config.totem
    nodes = [node.model_fields_set for node in config.nodelist.node]
    return marks_of_knet([totem.model_fields_set], [each.model_fields_set for each in totem.interface], nodes)


def marks_of_knet(*sections: Iterable[Iterable[str]]) -> bool:
    """The same by option names: of totem{}, of each interface{}, and of each node{}."""
    return any(is_mark_of_knet(name) for kind in sections for section in kind for name in section)


def is_mark_of_knet(name: str) -> bool:
    """True for an option that Corosync has had since knet, and for knet."""
    further = name.startswith("ring") and name.endswith("_addr") and name != "ring0_addr"
    return further or name.startswith("knet_") or name in ("link_mode", "linknumber")


def knet_links(config: Config) -> dict[int, KnetLink]:
    """The links on which any node has an address, with their effective options."""
    token_ms = timers(config.totem, len(config.nodelist.node)).token_timeout_ms
    configured = {each.linknumber: each for each in config.totem.interface}
    links = {}
    for number in range(LINKS_MAX):
        if not any(getattr(node, f"ring{number}_addr") for node in config.nodelist.node):
            continue
        of = configured.get(number, Interface(linknumber=number))
        port = of.mcastport if "mcastport" in of.model_fields_set else of.mcastport + number
        pongs = of.knet_pong_count
        links[number] = KnetLink(
            port,
            of.knet_link_priority,
            of.knet_ping_interval or max(20, token_ms // (2 * pongs)),
            of.knet_ping_timeout or max(40, token_ms // pongs),
            pongs,
        )
    return links


def ip_version(config: Config) -> IpVersion:
    """Which addresses of a host name are used (corosync.conf(5))."""
    if config.totem.ip_version:
        return config.totem.ip_version
    return "ipv4" if transport(config) == "udp" else "ipv6-4"


def node_id_of_address(address: str, *, clear_high_bit: bool) -> int | None:
    """The identifier that follows from an IPv4 address; None for IPv6 addresses and host names."""
    try:
        number = int(ipaddress.IPv4Address(address))
    except ValueError:
        return None
    return number & 0x7FFFFFFF if clear_high_bit else number


def multicast_group(cluster_name: str, *, ipv6: bool) -> str:
    """The group that follows from the cluster's name: a 16 bit hash h; 239.192.(h >> 8).(h mod 255), or ff15::h."""
    value = 0
    for byte in cluster_name.encode("utf-8", "surrogateescape"):
        value = (value * 2 + byte) & 0xFFFF
    if ipv6:
        return str(ipaddress.IPv6Address((0xFF15 << 112) | value))
    return f"239.192.{value >> 8}.{value % 255}"
