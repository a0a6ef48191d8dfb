"""Makes the settings of the ring and the link from the node's configuration."""

from __future__ import annotations

import dataclasses
import socket
from ipaddress import ip_address
from typing import Any

from rondo.config import NodeConfig
from services.totem.ring.options import RingOptions
from services.totem.ring.sizing import CUT_PACKET_BYTES, LARGE_PACKET_BYTES
from services.totem.transport.address_book import LinkSettings
from services.totem.transport.base import TransportSettings
from services.totem.transport.knet.link_options import KnetOptions, LinkMode, LinkOptions
from services.totem.transport.knet_link import KnetLinkSettings
from services.totem.transport.sockets import headers_size
from services.totem.wire.executive import Service

CONFIGURED = sorted(
    {field.name for field in dataclasses.fields(RingOptions)} & {field.name for field in dataclasses.fields(NodeConfig)}
)
"""The fields that RingOptions and NodeConfig share: they are copied unchanged."""


def ring_options(config: NodeConfig, envelope_bytes: int = 0) -> RingOptions:
    """The settings of the ring. Without a nodelist everybody may join.

    `envelope_bytes`: bytes that packet security adds to a packet. The ring makes its packets smaller by that, and by
    the headers of IP and UDP. So a full packet fits an IP packet of netmtu after sealing, even when it is wrapped
    during recovery.
    """
    cuts = envelope_bytes > 0 or config.transport == "knet"
    configured = {name: getattr(config, name) for name in CONFIGURED}
    of_the_host: dict[str, Any] = {
        "members": frozenset(config.members) or None,
        "large_packet_bytes": CUT_PACKET_BYTES if cuts else LARGE_PACKET_BYTES,
        "large_in_segments": cuts,
        "marked_segments": envelope_bytes > 0,
        "netmtu": _ring_netmtu(config, envelope_bytes),
        "sync_services": sync_services(config),
    }
    return RingOptions(**(configured | of_the_host))


def _ring_netmtu(config: NodeConfig, envelope_bytes: int) -> int:
    if config.transport == "knet" and config.large_packets:
        return KNET_NETMTU
    if not envelope_bytes:
        return config.netmtu
    return config.netmtu - _ip_headers(config) - envelope_bytes


def _ip_headers(config: NodeConfig) -> int:
    """Bytes of the IP and UDP headers; those of IPv6 unless the configuration says IPv4."""
    try:
        ipv4 = config.ip_version == "ipv4" or ip_address(config.local_address).version == 4
    except ValueError:
        ipv4 = False  # a name
    return headers_size(socket.AF_INET if ipv4 else socket.AF_INET6)


def sync_services(config: NodeConfig) -> tuple[int, ...]:
    """The services that take part in the sync, in Corosync's order."""
    services = (Service.CMAP, Service.CPG, Service.QUORUM)
    return (*services, Service.VOTEQUORUM) if config.quorum.enabled else services


KNET_NETMTU = 1409
"""The largest packet that is one datagram of knet on Ethernet with IPv4, aes256 and sha256. Larger ones are cut."""


def knet_settings(config: NodeConfig, key: bytes) -> KnetLinkSettings:
    """The links of `transport: knet`."""
    knet = config.knet
    return KnetLinkSettings(
        options=KnetOptions(
            node_id=config.node_id,
            links={number: LinkOptions(**dataclasses.asdict(link)) for number, link in knet.links.items()},
            mode=LinkMode(knet.mode),
            pmtud_interval_ms=knet.pmtud_interval_ms,
            mtu=knet.mtu,
            compression=knet.compression,
            compression_threshold=knet.compression_threshold,
            compression_level=knet.compression_level,
            block_unlisted_ips=config.block_unlisted_ips,
        ),
        addresses=knet.addresses,
        cipher=config.security.cipher,
        hash=config.security.hash,
        key=key,
        ip_version=config.ip_version,
        ip_dscp=config.ip_dscp,
        check_interval_ms=config.downcheck_timeout_ms,
    )


def link_settings(config: NodeConfig) -> LinkSettings:
    """The settings of the link."""
    return LinkSettings(
        transport=TransportSettings(
            node_id=config.node_id,
            port=config.mcastport,
            group=config.mcastaddr,
            broadcast=config.broadcast,
            ttl=config.ttl,
            ip_dscp=config.ip_dscp,
            block_unlisted_ips=config.block_unlisted_ips,
        ),
        multicast=config.transport == "udp",
        members=config.members,
        local_address=config.local_address,
        bindnetaddr=config.bindnetaddr,
        ip_version=config.ip_version,
        netmtu=config.netmtu,
        ip_headers=_ip_headers(config),
        netmtu_given=not config.large_packets,
        check_interval_ms=config.downcheck_timeout_ms,
    )
