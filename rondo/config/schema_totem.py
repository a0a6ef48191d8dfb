"""The options of totem{} and nodelist{}: how the ring and its network are set up (corosync.conf(5))."""

from typing import Literal

from rondo.config.node import Cipher, Compression, ForwardSecrecy, Hash, IpVersion, LinkModeName, Transport
from rondo.config.option import (
    Address,
    Host,
    MaybeHost,
    MaybeNumber,
    MaybeYesNo,
    Multicast,
    Number,
    Section,
    Word,
    YesNo,
    option,
)

TIMER_MS_MIN = 30
"""Corosync refuses shorter timers: they would expire because of scheduling alone."""
HOLD_MS_MIN = 14
TIMER_MS_MAX = 24 * 60 * 60 * 1000
NODE_ID_MAX = 2**32 - 1
NETMTU_MAX = 65507
"""The largest UDP payload over IPv4."""

ONE_LINK = "udp and udpu run over one link; for several write transport: knet on all nodes"


class Member(Section):
    """The 2.x list of the nodes of udpu. nodelist{} is better, and the only way for IPv6."""

    memberaddr: Address = option(..., "Address of one node. Every node is listed, including this one.")


class Interface(Section):
    """The network of the ring. With a nodelist it is needed only for mcastaddr, mcastport, ttl and broadcast."""

    linknumber: Number = option(0, "Number of the link. udp and udpu have only link 0.", ge=0, le=7)
    ringnumber: Number = option(0, "The same in files of Corosync 2.x.", ge=0, le=7)
    bindnetaddr: Address = option(
        "",
        "Address of this node, or of the network that it is in (IPv6: the exact address). The nodelist wins over it.",
    )
    broadcast: YesNo = option(False, "With udp: send to 255.255.255.255 instead of a multicast group.")
    mcastaddr: Multicast = option(
        "",
        "Multicast group of the ring, the same on all nodes.",
        derived="from cluster_name: 239.192.x.y, or ff15::x with IPv6",
    )
    mcastport: Number = option(
        5405,
        "UDP port of the ring, the same on all nodes. With udp the port below it is used too, for sending. With knet: "
        "of this link; 5405 + linknumber if it is not given.",
        ge=2,
        le=65535,
    )
    ttl: Number = option(
        1, "Time to live of multicast packets: how many routers they may pass, plus one.", ge=0, le=255
    )
    knet_link_priority: Number = option(
        1, "With knet: the higher, the sooner this link is used in passive mode.", ge=0, le=255
    )
    knet_ping_interval: MaybeNumber = option(
        None,
        "With knet: interval of pings.",
        unit="ms",
        ge=20,
        le=TIMER_MS_MAX,
        derived="token / (2 * knet_pong_count)",
    )
    knet_ping_timeout: MaybeNumber = option(
        None,
        "With knet: a link without a pong for this time is down.",
        unit="ms",
        ge=40,
        le=TIMER_MS_MAX,
        derived="token / knet_pong_count",
    )
    knet_ping_precision: Number = option(
        2048,
        "With knet: the number of pings over which latency is averaged.",
        ge=1,
        le=65_536,
        ignored="Rondo averages over 16",
    )
    knet_pong_count: Number = option(
        2, "With knet: a link that was down is up again after one more pong than this.", ge=1, le=127
    )
    knet_transport: Literal["udp"] = option(
        "udp",
        "With knet: the protocol of a link.",
        refused={"sctp": "Rondo's knet runs over UDP; write udp on all nodes"},
    )
    member: tuple[Member, ...] = option((), "The nodes.")


class Totem(Section):
    """The ring: transport, security and timers. All nodes should have the same values."""

    version: Number = option(2, "Version of the file's format; 2 is the only one.", ge=2, le=2)
    cluster_name: Word = option(
        "",
        "Name of the cluster. With packet security (udp, udpu), nodes with another name cannot be understood; with "
        "udp the multicast group follows from it. In the clear, and with knet, only ports, groups, lists of nodes and "
        "keys separate clusters.",
    )
    transport: Transport | None = option(
        None,
        "How packets travel: udpu sends one to each node, udp one to a multicast group for all, knet over up to eight "
        "links, as most clusters of Corosync 3 do.",
        derived="knet if the file has ring1_addr, link_mode or knet_* options; else udpu if there is a nodelist or "
        "member{} lists, else udp",
        refused={
            "iba": "Rondo does not speak InfiniBand; write udpu (or udp for multicast) on all nodes",
        },
    )
    config_version: Number = option(
        0,
        "Version of this configuration. A node that meets others for the first time since its start stops if their "
        "version is higher. 0 = not compared.",
        ge=0,
        le=2**64 - 1,
    )
    ip_version: IpVersion | None = option(
        None,
        "Which addresses of a host name are used; ipv4-6 means IPv4, and IPv6 if there is none.",
        derived="ipv4 with udp, ipv6-4 with udpu",
    )
    nodeid: MaybeNumber = option(
        None,
        "This node's identifier; with a nodelist, which of its nodes this one is.",
        ge=1,
        le=NODE_ID_MAX,
        derived="nodelist.node.nodeid, else the IPv4 address as a number",
    )
    clear_node_high_bit: YesNo = option(
        False, "Clear the top bit of identifiers made of IPv4 addresses, for programs that read them as signed."
    )
    secauth: MaybeYesNo = option(
        None,
        "off sends packets in the clear, with Corosync's bytes: needed beside C Corosync nodes. Otherwise packets "
        "are authenticated and encrypted.",
        derived="on, unless crypto_cipher is none",
    )
    crypto_cipher: Cipher | None = option(
        None,
        "How packets are encrypted. The GCM ciphers authenticate too; the others (CBC) need crypto_hash. "
        "none switches security off.",
        derived="aes256-gcm, or none with secauth: off",
        refused={"3des": "3DES is broken; write aes256-gcm"},
    )
    crypto_hash: Hash | None = option(
        None,
        "The HMAC that goes with aes256, aes192 and aes128.",
        derived="none with the GCM ciphers",
        refused={"md5": "MD5 is broken; write sha256"},
    )
    forward_secrecy: ForwardSecrecy = option(
        "auto",
        "Whether a ring has a secret of its own, so that a later theft of the key does not reveal recorded packets. "
        "auto: as soon as all members support it; yes: no ring is formed with a node that does not; no: never. With "
        "knet, and without packet security, there is none.",
    )
    keyfile: Word = option(
        "",
        "File with the key that all nodes share (rondo keygen); a relative path lies beside this configuration.",
        derived="$COROSYNC_TOTEM_AUTHKEY_FILE, else /etc/corosync/authkey",
    )
    key: Word = option(
        "", "The key itself, if there is no keyfile. A file is safer: too many users can read this one.", secret=True
    )
    netmtu: Number = option(
        1500,
        "With packet security: the largest IP packet. Larger packets are cut into segments, so nothing is fragmented "
        "unless this is above the MTU of the interface (the log says so). Without packet security: the largest UDP "
        "payload, as in Corosync. The headers (28 bytes, IPv6: 48) come on top, so full packets of 1500 bytes are "
        "fragmented on Ethernet, but only while a ring is recovering. If this is absent, rings of Rondo nodes only "
        "use packets of up to 60000 bytes (without packet security 8600) while none are lost. With knet a small "
        "packet is then one datagram on Ethernet, and knet cuts the large ones.",
        unit="bytes",
        ge=576,
        le=NETMTU_MAX,
        zero_is_default=True,
    )
    ip_dscp: Number = option(0, "DiffServ code point of the packets.", ge=0, le=63)
    block_unlisted_ips: YesNo = option(
        True, "Drop packets from unlisted addresses, in the kernel. With udp: if there is a nodelist."
    )

    token: Number = option(
        3000,
        "Time without the token after which a node counts as failed. See token_coefficient.",
        unit="ms",
        ge=TIMER_MS_MIN,
        le=TIMER_MS_MAX,
        zero_is_default=True,
    )
    token_coefficient: Number = option(
        650,
        "Added to token for each node of the nodelist beyond the second.",
        unit="ms",
        ge=0,
        le=TIMER_MS_MAX,
    )
    token_warning: Number = option(
        75,
        "Share of the token timeout after which a late token is logged; 0 = never.",
        unit="percent",
        ge=0,
        le=100,
        node="token_warning_percent",
    )
    token_retransmits_before_loss_const: Number = option(
        4,
        "How often the token is sent again before it counts as lost.",
        unit="retransmissions",
        ge=1,
        le=1000,
        zero_is_default=True,
    )
    token_retransmit: MaybeNumber = option(
        None,
        "After this time without news of the token it is sent again. This is an upper bound: Rondo uses the measured "
        "time of a rotation.",
        unit="ms",
        ge=TIMER_MS_MIN,
        le=TIMER_MS_MAX,
        derived="token / (token_retransmits_before_loss_const + 0.2), with the effective token",
        zero_is_default=True,
    )
    hold: MaybeNumber = option(
        None,
        "How long the representative of an idle ring keeps the token.",
        unit="ms",
        ge=HOLD_MS_MIN,
        le=TIMER_MS_MAX,
        derived="token_retransmit * 0.8 - 10",
        zero_is_default=True,
    )
    join: Number = option(
        50,
        "Interval at which joins are repeated while a ring forms.",
        unit="ms",
        ge=TIMER_MS_MIN,
        le=TIMER_MS_MAX,
        zero_is_default=True,
        node="join_timeout_ms",
    )
    send_join: Number = option(
        0,
        "Upper end of the random delay of each join, against floods on rings of more than 32 nodes.",
        unit="ms",
        ge=0,
        le=TIMER_MS_MAX,
        node="send_join_ms",
    )
    consensus: MaybeNumber = option(
        None,
        "How long to wait for agreement on a membership before silent nodes count as failed.",
        unit="ms",
        ge=TIMER_MS_MIN,
        le=TIMER_MS_MAX,
        derived="1.2 * token, with the effective token",
        zero_is_default=True,
    )
    consensus_early: Number = option(
        500,
        "Rondo's own: when all nodes that answer agree, wait only this long for members of the ring that leave every "
        "join unanswered, at least 10 of them. The time doubles for a member each time that this happens to it, up to "
        "consensus. 0 = wait for consensus.",
        unit="ms",
        ge=0,
        le=TIMER_MS_MAX,
    )
    merge: Number = option(
        200,
        "Interval at which an idle ring looks for other rings.",
        unit="ms",
        ge=TIMER_MS_MIN,
        le=TIMER_MS_MAX,
        zero_is_default=True,
        node="merge_timeout_ms",
    )
    downcheck: Number = option(
        1000,
        "Interval at which a network interface that is down is checked.",
        unit="ms",
        ge=TIMER_MS_MIN,
        le=TIMER_MS_MAX,
        zero_is_default=True,
        node="downcheck_timeout_ms",
    )
    fail_recv_const: Number = option(
        2500,
        "Rotations in which a node misses messages that others have before it leaves the ring.",
        unit="rotations",
        ge=1,
        le=2**31 - 1,
        zero_is_default=True,
    )
    seqno_unchanged_const: Number = option(
        30,
        "Rotations without messages before the token is held. If no node of a ring of Rondo nodes configures this, "
        "the token is held as soon as one rotation has shown that nobody has anything to send.",
        unit="rotations",
        ge=1,
        le=2**31 - 1,
        zero_is_default=True,
    )
    heartbeat_failures_allowed: Number = option(
        0, "Missed heartbeats.", ge=0, le=2**31 - 1, ignored="Rondo has no heartbeat; lower token instead"
    )
    max_network_delay: Number = option(
        50,
        "The longest time that a packet takes, for the heartbeat.",
        unit="ms",
        ge=TIMER_MS_MIN,
        le=TIMER_MS_MAX,
        ignored="Rondo has no heartbeat",
    )
    window_size: Number = option(
        50,
        "Packets that all nodes together may send in one rotation of the token; at most 256000 / netmtu. If this and "
        "max_messages are absent, rings of Rondo nodes only use as much as all their receive buffers can take.",
        unit="packets",
        ge=1,
        le=2**32 - 1,
        zero_is_default=True,
    )
    max_messages: Number = option(
        17,
        "Packets that one node may send per visit of the token; at most 256000 / netmtu. See window_size.",
        unit="packets",
        ge=1,
        le=2**32 - 1,
        zero_is_default=True,
    )
    accelerated_window: MaybeNumber = option(
        None,
        "Rondo's own: how many packets of a visit are sent after the token was passed on, in rings of Rondo nodes "
        "only. At most max_messages; nine times as many for packets larger than netmtu. 0 = Corosync's order.",
        unit="packets",
        ge=0,
        le=16384,
        derived="10, or max_messages if that is less",
    )
    miss_count_const: Number = option(
        5,
        "Visits of the token at which a message is missing before it is requested. Rondo requests it at the second "
        "visit at the latest, and at the first if it knows that the message is not on its way.",
        unit="visits",
        ge=1,
        le=1000,
        zero_is_default=True,
    )
    cancel_token_hold_on_retransmit: YesNo = option(
        False, "Do not hold the token while messages are being retransmitted."
    )
    rrp_mode: Literal["none"] = option(
        "none",
        "Redundant rings of Corosync 2.x.",
        refused=dict.fromkeys(("active", "passive"), f"{ONE_LINK}, and write none"),
    )
    link_mode: LinkModeName = option(
        "passive",
        "With knet: which of several links carry data. passive: the one with the highest priority that is up; active: "
        "all; rr: in turn.",
    )
    knet_pmtud_interval: Number = option(
        30, "With knet: how often a larger path MTU is tried.", unit="s", ge=1, le=86_400
    )
    knet_mtu: Number = option(
        0,
        "With knet: the largest IP packet; 0 = detected for each link.",
        unit="bytes",
        ge=0,
        le=65_535,
    )
    knet_compression_model: Compression = option(
        "none",
        "With knet: how frames are compressed. lz4 and zstd need the Python packages lz4 and zstandard. The same on "
        "all nodes.",
        refused={"lzo2": "there is no LZO here; write zlib on all nodes"},
    )
    knet_compression_threshold: Number = option(
        100, "With knet: shorter frames are not compressed; 0 = 100.", unit="bytes", ge=0, le=65_536
    )
    knet_compression_level: Number = option(0, "With knet: level of the codec; 0 = its own.", ge=0, le=22)
    threads: Number = option(
        0, "Threads for encryption (2.x).", ge=0, le=64, ignored="encryption needs no threads here"
    )
    crypto_model: Word = option(
        "openssl", "Library for encryption.", ignored="Rondo always uses OpenSSL through the cryptography package"
    )
    interface: tuple[Interface, ...] = option((), "The network.")


class Node(Section):
    """One node of the cluster. Every node is listed, including this one."""

    ring0_addr: Host = option(..., "The node's address on the network of the ring, or a host name of it.")
    ring1_addr: MaybeHost = option(None, "Its address on link 1, with knet.")
    ring2_addr: MaybeHost = option(None, "Its address on link 2, with knet.")
    ring3_addr: MaybeHost = option(None, "Its address on link 3, with knet.")
    ring4_addr: MaybeHost = option(None, "Its address on link 4, with knet.")
    ring5_addr: MaybeHost = option(None, "Its address on link 5, with knet.")
    ring6_addr: MaybeHost = option(None, "Its address on link 6, with knet.")
    ring7_addr: MaybeHost = option(None, "Its address on link 7, with knet.")
    nodeid: MaybeNumber = option(
        None,
        "The node's identifier, 0 excepted. Needed with IPv6 and with host names.",
        ge=1,
        le=NODE_ID_MAX,
        derived="the IPv4 address as a number",
    )
    name: Word = option("", "The node's host name, by which a machine finds out which of the nodes it is.")
    quorum_votes: Number = option(1, "The node's votes for quorum.", ge=0, le=255)


class Nodelist(Section):
    """All nodes of the cluster. Needed for a ring with C Corosync 3.1 members, and recommended always."""

    node: tuple[Node, ...] = option((), "The nodes.")
