"""A node's configuration as cmap keys, under Corosync's names. Options that Corosync lacks are not included.

Corosync keeps what is in the file. Here the keys hold what is in force, including defaults. Options that Rondo does not
have get the value that matches its behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator

from rondo.config import NodeConfig
from rondo.config.node import LogSettings
from services.control.cmap.values import Type, Value
from services.control.message_counts import NAMES as SERVICES
from services.control.quorum.settings import PROVIDER

NETWORK_DELAY_MS = 50
"""max_network_delay. It only matters with heartbeats, and there are none (heartbeat_failures_allowed)."""

FORCE_GATHER_KEY = "runtime.force_gather"
NOT_FORCED = Value(Type.STR, "no")
"""The value of `FORCE_GATHER_KEY`. Any other one that a program sets has the ring formed anew, and is not kept."""


def _u8(value: bool) -> Value:
    return Value(Type.U8, int(value))


def _u32(value: int) -> Value:
    return Value(Type.U32, value)


def _text(value: str) -> Value:
    return Value(Type.STR, value)


def _yes(value: bool) -> Value:
    return _text("yes" if value else "no")


def logging_keys(config: NodeConfig) -> dict[str, Value]:
    """The keys below `logging.`: the general settings in force, and the subsystems' own."""
    return dict(_logging(config))


def keys_of(config: NodeConfig) -> Iterator[tuple[str, Value]]:
    """All keys that follow from the configuration, and those that are there from the beginning."""
    yield FORCE_GATHER_KEY, NOT_FORCED
    yield from _totem(config)
    yield from _in_force(config)
    yield from _nodelist(config)
    if config.quorum.enabled:
        yield from _quorum(config)
    yield from _logging(config)
    yield "system.sched_rr", _yes(config.sched_rr)
    yield "system.state_dir", _text(config.state_dir)
    yield "system.qb_ipc", _text(config.qb_ipc)
    for uid in config.allowed_uids:
        yield f"uidgid.config.uid.{uid}", _u8(True)
    for gid in config.allowed_gids:
        yield f"uidgid.config.gid.{gid}", _u8(True)
    for number, name in SERVICES.items():
        if name != "votequorum" or config.quorum.enabled:
            yield f"internal_configuration.service.{number}.name", _text(f"corosync_{name}")
            yield f"internal_configuration.service.{number}.ver", _u32(0)


def _totem(config: NodeConfig) -> Iterator[tuple[str, Value]]:
    yield "totem.version", _u32(2)
    yield "totem.transport", _text(config.transport)
    yield "totem.netmtu", _u32(config.netmtu)
    if config.cluster_name:
        yield "totem.cluster_name", _text(config.cluster_name)
    if config.config_version:
        yield "totem.config_version", Value(Type.U64, config.config_version)
    yield "totem.crypto_cipher", _text(config.security.cipher)
    yield "totem.crypto_hash", _text(config.security.hash)
    if config.security.key_file:
        yield "totem.keyfile", _text(config.security.key_file)
    if config.transport == "knet":
        yield "totem.link_mode", _text(config.knet.mode)
        for link, address in config.knet.addresses.get(config.node_id, {}).items():
            yield f"totem.interface.{link}.bindnetaddr", _text(address)
            yield f"totem.interface.{link}.mcastport", _u32(config.knet.links[link].port)
            yield f"totem.interface.{link}.knet_link_priority", _u32(config.knet.links[link].priority)
        return
    yield "totem.interface.0.bindnetaddr", _text(config.bindnetaddr or config.local_address)
    yield "totem.interface.0.mcastport", _u32(config.mcastport)
    if config.transport == "udp":
        yield "totem.interface.0.mcastaddr", _text(config.mcastaddr)
        yield "totem.interface.0.ttl", _u32(config.ttl)


def _in_force(config: NodeConfig) -> Iterator[tuple[str, Value]]:
    below, knet = "runtime.config.totem.", config.knet
    numbers = {
        "block_unlisted_ips": int(config.block_unlisted_ips),
        "cancel_token_hold_on_retransmit": int(config.cancel_token_hold_on_retransmit),
        "consensus": config.consensus_timeout_ms,
        "consensus_early": config.consensus_early_ms,
        "downcheck": config.downcheck_timeout_ms,
        "fail_recv_const": config.fail_recv_const,
        "heartbeat_failures_allowed": 0,
        "hold": config.token_hold_ms,
        "join": config.join_timeout_ms,
        "max_messages": config.max_messages,
        "max_network_delay": NETWORK_DELAY_MS,
        "merge": config.merge_timeout_ms,
        "miss_count_const": config.miss_count_const,
        "send_join": config.send_join_ms,
        "seqno_unchanged_const": config.seqno_unchanged_const,
        "token": config.token_timeout_ms,
        "token_retransmit": config.token_retransmit_ms,
        "token_retransmits_before_loss_const": config.token_retransmits_before_loss_const,
        "token_warning": config.token_warning_percent,
        "window_size": config.window_size,
    }
    if config.transport == "knet":
        numbers |= {
            "knet_compression_threshold": knet.compression_threshold,
            "knet_mtu": knet.mtu,
            "knet_pmtud_interval": knet.pmtud_interval_ms // 1000,
        }
        yield f"{below}knet_compression_model", _text(knet.compression)
        yield f"{below}knet_compression_level", Value(Type.I32, knet.compression_level)
        for number, link in knet.links.items():
            yield f"{below}interface.{number}.knet_ping_interval", _u32(link.ping_interval_ms)
            yield f"{below}interface.{number}.knet_ping_timeout", _u32(link.ping_timeout_ms)
            yield f"{below}interface.{number}.knet_pong_count", _u32(link.pong_count)
    for name, value in numbers.items():
        yield below + name, _u32(value)


def _nodelist(config: NodeConfig) -> Iterator[tuple[str, Value]]:
    """Positions follow the file."""
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


def _logging(config: NodeConfig) -> Iterator[tuple[str, Value]]:
    general = config.logging[""]
    yield from _log_settings("logging.", general)
    yield "logging.timestamp", _text(general.timestamp)
    yield "logging.fileline", _text("on" if general.fileline else "off")
    yield "logging.function_name", _text("on" if general.function_name else "off")
    for name, settings in config.logging.items():
        if name:
            below = f"logging.logger_subsys.{name}."
            yield f"{below}subsys", _text(name)
            own = {below + each for each in settings.own}
            yield from ((key, value) for key, value in _log_settings(below, settings) if key in own)


def _log_settings(below: str, settings: LogSettings) -> Iterator[tuple[str, Value]]:
    yield f"{below}debug", _text(settings.debug)
    yield f"{below}to_stderr", _yes(settings.to_stderr)
    yield f"{below}to_syslog", _yes(settings.to_syslog)
    yield f"{below}to_logfile", _yes(settings.to_logfile)
    if settings.logfile:
        yield f"{below}logfile", _text(settings.logfile)
    yield f"{below}logfile_priority", _text(settings.logfile_priority)
    yield f"{below}syslog_facility", _text(settings.syslog_facility)
    yield f"{below}syslog_priority", _text(settings.syslog_priority)
