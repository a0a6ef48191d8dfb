"""The resolved configuration that a node runs with, as plain values, and its file.

`rondo start` reads, checks and resolves corosync.conf once, and passes the result to the services. They then need
neither pydantic nor the parser. Times are milliseconds, sizes bytes.
"""

import dataclasses
import os
import stat
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgpack

FILE_BYTES_MAX = 4 * 1024 * 1024
"""A resolved configuration of 384 nodes has some 30 KiB. A larger file is no such configuration."""

Transport = Literal["udp", "udpu", "knet"]
LinkModeName = Literal["passive", "active", "rr"]
Compression = Literal["none", "zlib", "lz4", "lz4hc", "lzma", "bzip2", "zstd"]
IpVersion = Literal["ipv4", "ipv6", "ipv4-6", "ipv6-4"]
Cipher = Literal["none", "aes256-gcm", "aes128-gcm", "aes256", "aes192", "aes128"]
Hash = Literal["none", "sha1", "sha256", "sha384", "sha512"]
ForwardSecrecy = Literal["auto", "yes", "no"]
QbIpc = Literal["auto", "yes", "no"]
Debug = Literal["off", "on", "trace"]
Timestamp = Literal["off", "on", "hires"]
LogFormat = Literal["text", "json"]
Priority = Literal["emerg", "alert", "crit", "err", "error", "warning", "notice", "info", "debug"]
Facility = Literal[
    "daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7", "auth", "authpriv",
    "cron", "ftp", "kern", "lpr", "mail", "news", "syslog", "user", "uucp",
]  # fmt: skip
SUBSYSTEMS = ("TOTEM", "CPG", "CONTROL", "SAM", "IPC_GATEWAY", "QB_GATEWAY", "WEB", "NOTIFY")
"""What logger_subsys{} can be of: the services' names."""


class NodeConfigError(ValueError):
    """A resolved configuration that cannot be used: unreadable, invalid, or of another version."""


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """The protection of packets between nodes (corosync.conf: `secauth`, `crypto_cipher`, `crypto_hash`, `keyfile`)."""

    cipher: Cipher = "none"
    """`none` means plain packets with Corosync's bytes. All others authenticate and encrypt."""
    hash: Hash = "none"
    """The HMAC of the CBC ciphers `aes256`, `aes192`, `aes128`; `none` with the GCM ciphers, which need no HMAC."""
    key_file: str = ""
    """Absolute path of the key; empty if security is off or the configuration contains the key."""
    key: bytes = field(default=b"", repr=False)
    """The key itself, if the configuration contains it (`totem.key`); never printed."""
    key_created_if_missing: bool = False
    """True only without a configuration file: `rondo start` then makes the key of the single node itself."""
    forward_secrecy: ForwardSecrecy = "auto"
    """Whether rings have secrets of their own. `yes`: every ring; `auto`: rings whose members all have it. Without
    packet security, and with knet, there are none."""

    @property
    def enabled(self) -> bool:
        """True if packets are protected."""
        return self.cipher != "none" or self.hash != "none"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What one subsystem logs, and where to (corosync.conf: `logging{}`, overridden by its `logger_subsys{}`)."""

    debug: Debug = "off"
    to_stderr: bool = True
    to_logfile: bool = False
    logfile: str = ""
    logfile_priority: str = "info"
    to_syslog: bool = False
    syslog_facility: str = "daemon"
    syslog_priority: str = "info"
    timestamp: Timestamp = "hires"
    format: LogFormat = "text"
    """The format on standard error and in files."""
    fileline: bool = False
    function_name: bool = False
    own: tuple[str, ...] = ()
    """Of a subsystem: what it has of its own, by name; the rest is as in logging{}."""

    @property
    def is_syslog_alone(self) -> bool:
        """True if only syslog has the lines."""
        return self.to_syslog and not self.to_stderr and not (self.to_logfile and bool(self.logfile))


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """The address for clients on other hosts (corosync.conf: `remote{}`)."""

    address: str = ""
    """Empty: there are no remote clients."""
    port: int = 0
    key_file: str = ""
    """Absolute path of the gateway's key pair."""
    clients_file: str = ""
    """Absolute path of the file with the admitted public keys."""

    @property
    def enabled(self) -> bool:
        """True if clients on other hosts may connect."""
        return bool(self.address)


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The web page of this node (corosync.conf: `web{}`)."""

    enabled: bool = False
    """True if the section is there."""
    address: str = "127.0.0.1"
    port: int = 5480
    names: tuple[str, ...] = ()
    """Further host names under which browsers may request it."""
    token_file: str = ""
    """Absolute path, as are those below; empty: no token is required."""
    tls_cert: str = ""
    tls_key: str = ""
    tls_clients: str = ""
    """Who must have signed the clients' certificates; empty: clients need none."""


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Who is notified of events (corosync.conf: `notify{}`). Nobody if both are empty."""

    command: str = ""
    """Absolute path."""
    webhook: str = field(default="", repr=False)
    kinds: tuple[str, ...] = ("node", "quorum", "application", "link")
    timeout_ms: int = 10_000

    @property
    def enabled(self) -> bool:
        """True if somebody is notified."""
        return bool(self.command or self.webhook)


@dataclass(frozen=True, slots=True)
class SamSettings:
    """What users may take of SAM (corosync.conf: `sam{}`). A quarter of the common limits is reserved for root and the
    executive's own user; the limits per user do not apply to these."""

    applications_per_user_max: int = 256
    table_bytes_per_user_max: int = 32 * 1024 * 1024
    table_bytes_max: int = 128 * 1024 * 1024
    output_bytes_per_user_max: int = 64 * 1024 * 1024
    output_bytes_max: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KnetLink:
    """One link of knet (corosync.conf: `totem.interface{}`)."""

    port: int
    priority: int
    ping_interval_ms: int
    ping_timeout_ms: int
    pong_count: int


@dataclass(frozen=True, slots=True)
class KnetSettings:
    """The links of `transport: knet`; without links for the other transports."""

    links: dict[int, KnetLink] = field(default_factory=dict)
    """By number, 0..7."""
    addresses: dict[int, dict[int, str]] = field(default_factory=dict)
    """By node id and link, as written. A node need not have every link."""
    mode: LinkModeName = "passive"
    pmtud_interval_ms: int = 30_000
    mtu: int = 0
    """0: detected for each link."""
    compression: Compression = "none"
    compression_threshold: int = 100
    compression_level: int = 0


@dataclass(frozen=True, slots=True)
class QuorumSettings:
    """How votes are counted (corosync.conf: `quorum{}`), as written."""

    enabled: bool = False
    """True if there is a provider, corosync_votequorum."""
    expected_votes: int = 0
    """0: the sum of `node_votes`."""
    votes: int = 1
    node_votes: dict[int, int] = field(default_factory=dict)
    """By node id; empty without a nodelist."""
    two_node: bool = False
    wait_for_all: bool = False
    last_man_standing: bool = False
    last_man_standing_window_ms: int = 10_000
    auto_tie_breaker: bool = False
    auto_tie_breaker_node: str = "lowest"
    allow_downscale: bool = False
    expected_votes_tracking: bool = False


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything that the services of one node need to know. Nothing of it is derived any further.

    Made by `rondo.config.resolve`. docs/CONFIGURATION.md describes the options and their defaults.
    """

    node_id: int
    """This node's identifier, 1..2**32-1."""
    node_name: str
    """`nodelist.node.name`, or empty."""
    cluster_name: str
    config_version: int
    config_file: str
    """The file that it was read from; empty without a configuration file."""

    transport: Transport
    members: dict[int, tuple[str, ...]]
    """Every configured node, by identifier, and its addresses as written (names are not resolved). Empty only for
    multicast without a nodelist: then every node that answers is a member."""
    local_address: str
    """This node's own address: as written in the nodelist (possibly a name), or the address of the interface that
    `bindnetaddr` selected."""
    bindnetaddr: str
    """The one address that bindnetaddr selected; empty if the nodelist has the address."""
    mcastaddr: str
    """The multicast group; `255.255.255.255` with `broadcast`; empty with udpu."""
    mcastport: int
    """Packets arrive at this port; with udp they are sent from mcastport - 1."""
    ttl: int
    ip_dscp: int
    broadcast: bool
    block_unlisted_ips: bool
    ip_version: IpVersion
    """Which addresses of a host name are used."""
    netmtu: int

    token_timeout_ms: int
    token_retransmit_ms: int
    token_retransmits_before_loss_const: int
    """token_retransmit_ms follows from it, unless that is configured."""
    token_hold_ms: int
    token_warning_percent: int
    """Percent of token_timeout_ms after which a missing token is logged; 0 = never."""
    join_timeout_ms: int
    send_join_ms: int
    """Upper end of the random delay before a join is sent; 0 = at once."""
    consensus_timeout_ms: int
    merge_timeout_ms: int
    downcheck_timeout_ms: int
    fail_recv_const: int
    seqno_unchanged_const: int
    miss_count_const: int
    window_size: int
    max_messages: int
    cancel_token_hold_on_retransmit: bool
    consensus_early_ms: int
    """Long enough for ten joins; 0 = off."""
    accelerated_window: int
    """0 = the classic ring."""
    wide_windows: bool
    """window_size and max_messages follow from the receive buffers, if all members are Rondo and announce it."""
    early_hold: bool
    """The token is held as soon as nobody has anything to send, if all members are Rondo and announce it."""
    large_packets: bool
    """Packets may be larger than netmtu, if all members are Rondo and announce it."""

    security: SecuritySettings
    logging: dict[str, LogSettings]
    """By subsystem (a service's name in capitals); "" has the general settings."""

    allowed_uids: tuple[int, ...]
    """Users that may connect besides root and the executive's own."""
    allowed_gids: tuple[int, ...]

    state_dir: str
    """Absolute path: from the command line, else RONDO_STATE_DIR, else `system.state_dir`, else the default
    (rondo.paths)."""
    service_timeout_ms: int
    cpu_affinity: tuple[int, ...]
    """CPUs that the totem process is pinned to; empty = not pinned."""
    sched_rr: bool
    low_latency: bool
    """Processors do not sleep while messages flow."""
    log_bytes_max: int
    message_size_max: int
    client_bytes_max: int
    qb_ipc: QbIpc
    """Whether C programs that use Corosync's libraries are served."""
    node_names: dict[int, str] = field(default_factory=dict)
    """`nodelist.node.name` of the nodes that have one."""
    remote: RemoteSettings = field(default_factory=RemoteSettings)
    sam: SamSettings = field(default_factory=SamSettings)
    web: WebSettings = field(default_factory=WebSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    knet: KnetSettings = field(default_factory=KnetSettings)
    quorum: QuorumSettings = field(default_factory=QuorumSettings)

    def log_settings(self, service: str) -> LogSettings:
        """The log settings of a service (`totem`, `cpg` ...), with its overrides."""
        return self.logging.get(service.upper(), self.logging[""])

    def to_dict(self, *, with_key: bool = False) -> dict[str, Any]:
        """As plain values (JSON's types, but int keys in `members`); secrets only on request."""
        values = dataclasses.asdict(self)
        if not with_key:
            del values["security"]["key"]
            del values["notify"]["webhook"]  # it may contain a token
        return values

    def to_msgpack(self) -> bytes:
        """As one msgpack map, including the key: the caller must keep it secret."""
        packed: bytes = msgpack.packb(
            {"format": 1, "node": self.to_dict(with_key=True)}, unicode_errors="surrogateescape"
        )
        return packed

    @classmethod
    def from_msgpack(cls, packed: bytes) -> "NodeConfig":
        """The inverse of `to_msgpack`. Raises NodeConfigError for anything that does not have exactly that shape."""
        try:
            envelope = msgpack.unpackb(packed, strict_map_key=False, unicode_errors="surrogateescape")
            if not isinstance(envelope, dict) or envelope.get("format") != 1:
                raise NodeConfigError("not a resolved configuration of this version of Rondo")
            restored: NodeConfig = _restore(cls, envelope.get("node"), "node")
        except NodeConfigError:
            raise
        except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
            raise NodeConfigError(f"not a resolved configuration: {error}") from None
        return restored

    def save(self, path: Path) -> None:
        """Write it to `path`, as a whole or not at all, readable only for the owner (it may contain the key). Raises
        OSError."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.to_msgpack())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @classmethod
    def read(cls, path: Path) -> "NodeConfig":
        """Read what `save` wrote. Raises NodeConfigError, which names the file."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_BYTES_MAX:
                    raise NodeConfigError(f"{path}: not a resolved configuration")
                return cls.from_msgpack(file.read())
        except OSError as error:
            raise NodeConfigError(f"{path}: {error.strerror}") from None
        except NodeConfigError as error:
            raise NodeConfigError(f"{path}: {error}; `rondo start` writes it anew") from None


def _restore(kind: Any, value: Any, where: str) -> Any:
    """`value`, decoded by msgpack (tuples have become lists), as the annotated type `kind`. Checks it on the way."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = typing.get_type_hints(kind)
        if value.keys() != hints.keys():
            raise NodeConfigError(f"{where}: written by another version of Rondo")
        fields = {name: _restore(hint, value[name], f"{where}.{name}") for name, hint in hints.items()}
        return typing.cast("type[Any]", kind)(**fields)
    if origin is dict and isinstance(value, dict):
        key_kind, value_kind = arguments
        return {_restore(key_kind, k, where): _restore(value_kind, v, f"{where}.{k}") for k, v in value.items()}
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_restore(arguments[0], item, where) for item in value)
    if origin is Literal and value in arguments:
        return value
    if origin is None and type(value) is kind:
        return value
    raise NodeConfigError(f"{where}: {value!r:.60} is not what belongs there")
