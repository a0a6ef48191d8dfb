"""Checks that options fit together: timers, windows, security, logging. They do not look at the machine."""

import difflib
from collections.abc import Iterator

from rondo.config import derive
from rondo.config.checks_quorum import check_quorum
from rondo.config.checks_shown import check_shown, check_told
from rondo.config.faults import Fault, quoted
from rondo.config.key import KEY_BYTES_MAX, KEY_BYTES_MIN
from rondo.config.loaded import Loaded
from rondo.config.node import SUBSYSTEMS
from rondo.config.schema_node import SUBSYSTEMS_OF_COROSYNC, SUBSYSTEMS_OF_OLD
from rondo.config.schema_totem import HOLD_MS_MIN, TIMER_MS_MIN


def check_options(loaded: Loaded) -> list[Fault]:
    """All faults and warnings that follow from the options alone."""
    checks = (
        _timers,
        _early_consensus,
        _windows,
        _security,
        _key,
        _logging,
        _uidgid,
        _limits,
        check_quorum,
        check_shown,
        check_told,
    )
    return [fault for check in checks for fault in check(loaded)]


def _timers(loaded: Loaded) -> Iterator[Fault]:
    totem = loaded.config.totem
    timers = derive.timers(totem, len(loaded.config.nodelist.node))
    token_ms = timers.token_timeout_ms
    if timers.token_retransmit_ms < TIMER_MS_MIN:
        least = int(TIMER_MS_MIN * (totem.token_retransmits_before_loss_const + 0.2)) + 1
        why = f"token_retransmit would be {timers.token_retransmit_ms} ms, less than {TIMER_MS_MIN}"
        yield loaded.fault("error", ("totem", "token"), why, f"write a token of at least {least} ms")
    elif timers.token_hold_ms < HOLD_MS_MIN:
        why = f"hold would be {timers.token_hold_ms} ms, less than {HOLD_MS_MIN}"
        yield loaded.fault("error", ("totem", "token_retransmit"), why, f"write at least {TIMER_MS_MIN} ms")
    if timers.token_retransmit_ms >= token_ms:
        why = f"{timers.token_retransmit_ms} ms is not less than token, {token_ms} ms: no token would be sent again"
        yield loaded.fault("warning", ("totem", "token_retransmit"), why, "remove the line")
    consensus_ms, least = timers.consensus_timeout_ms, derive.consensus_least_ms(token_ms)
    if consensus_ms < least:
        why = f"{consensus_ms} ms is less than 1.2 times the token timeout, which is {token_ms} ms"
        why += ": nodes may be taken for failed while the token is only late"
        yield loaded.fault("warning", ("totem", "consensus"), why, f"write at least {least}, or remove the line")
    if totem.join > consensus_ms:
        why = f"{totem.join} ms is more than consensus, {consensus_ms} ms: no join would be repeated"
        yield loaded.fault("error", ("totem", "join"), why, "write 50, or remove the line")


def _early_consensus(loaded: Loaded) -> Iterator[Fault]:
    totem = loaded.config.totem
    path, early_ms = ("totem", "consensus_early"), totem.consensus_early
    consensus_ms = derive.timers(totem, len(loaded.config.nodelist.node)).consensus_timeout_ms
    if early_ms >= consensus_ms and loaded.given(*path):
        yield loaded.fault("warning", path, f"{early_ms} ms has no effect: consensus is {consensus_ms} ms", "")
    if 0 < early_ms <= totem.join and loaded.given(*path):
        why = f"{early_ms} ms is not more than join, {totem.join} ms: nobody would have the time to answer"
        yield loaded.fault("error", path, why, "write 500, or 0 to switch it off")


def _windows(loaded: Loaded) -> Iterator[Fault]:
    totem = loaded.config.totem
    limit = derive.window_limit(totem.netmtu)
    for name, value in (("window_size", totem.window_size), ("max_messages", totem.max_messages)):
        if value > limit and loaded.given("totem", name):
            why = f"{value} is more than 256000 / netmtu: kernel buffers would overflow; {limit} is used"
            yield loaded.fault("warning", ("totem", name), why, f"write at most {limit}")
    windows = derive.windows(totem)
    if windows.accelerated_window > windows.max_messages:
        why = f"{windows.accelerated_window} is more than max_messages, which is {windows.max_messages}"
        mend = f"write at most {windows.max_messages}"
        yield loaded.fault("error", ("totem", "accelerated_window"), why, mend)


def _security(loaded: Loaded) -> Iterator[Fault]:
    totem = loaded.config.totem
    path = ("totem", "crypto_cipher")
    if totem.secauth is False and totem.crypto_cipher not in (None, "none"):
        why = f"{totem.crypto_cipher} contradicts secauth: off"
        yield loaded.fault("error", path, why, "remove one of them")
        return
    if totem.secauth and totem.crypto_cipher == "none":
        yield loaded.fault("error", path, "none contradicts secauth: on", "remove one of them")
        return
    knet = derive.transport(loaded.config) == "knet"
    cipher, hash_in_force = derive.security(totem, knet=knet)
    if knet and cipher.endswith("-gcm"):
        mend = "write aes256 and crypto_hash: sha256, or transport: udpu, on all nodes"
        yield loaded.fault("error", path, f"knet's wire has no {cipher}", mend)
        return
    if cipher != "none" and not cipher.endswith("-gcm") and hash_in_force == "none":
        mend = "write crypto_hash: sha256" + ("" if knet else ", or crypto_cipher: aes256-gcm")
        yield loaded.fault("error", path, f"{cipher} needs a crypto_hash", mend)
    if totem.crypto_hash not in (None, "none") and hash_in_force == "none":
        why = "security is off" if cipher == "none" else f"{cipher} authenticates by itself"
        yield loaded.fault("warning", ("totem", "crypto_hash"), f"has no effect: {why}")
    if totem.forward_secrecy == "yes" and (knet or cipher == hash_in_force == "none"):
        why = "knet's wire has none" if knet else "security is off"
        mend = "write transport: udpu" if knet else "write secauth: on"
        yield loaded.fault("error", ("totem", "forward_secrecy"), f"cannot be: {why}", f"{mend} on all nodes")
    if hash_in_force == "sha1":
        yield loaded.fault("warning", ("totem", "crypto_hash"), "SHA-1 is old", "write sha256 on all nodes")


def _key(loaded: Loaded) -> Iterator[Fault]:
    totem = loaded.config.totem
    if not totem.key:
        return
    path = ("totem", "key")
    if totem.secauth is False or totem.crypto_cipher == "none":
        yield loaded.fault("warning", path, "has no effect: security is off", "remove it")
        return
    if totem.keyfile:
        yield loaded.fault("warning", path, "has no effect: keyfile wins over it", "remove one of them")
        return
    size = len(totem.key.encode())
    if not KEY_BYTES_MIN <= size <= KEY_BYTES_MAX:
        why = f"a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, this one {size}"
        yield loaded.fault("error", path, why, "make a key file with rondo keygen")


def _logging(loaded: Loaded) -> Iterator[Fault]:
    logging = loaded.config.logging
    if logging.to_logfile and not logging.logfile:
        yield loaded.fault("error", ("logging", "to_logfile"), "there is no logfile", "write logfile: and its path")
    seen: dict[str, int] = {}
    for index, subsys in enumerate(logging.logger_subsys):
        where = ("logging", "logger_subsys", index)
        if subsys.to_logfile and not (subsys.logfile or logging.logfile):
            yield loaded.fault("error", (*where, "to_logfile"), "there is no logfile", "write logfile: and its path")
        name = subsys.subsys.upper()
        if name not in (*SUBSYSTEMS, *SUBSYSTEMS_OF_COROSYNC, *SUBSYSTEMS_OF_OLD):
            close = difflib.get_close_matches(name[:64], SUBSYSTEMS, n=1, cutoff=0.7)
            hint = f"did you mean {close[0]}?" if close else f"write one of {', '.join(SUBSYSTEMS)}"
            yield loaded.fault("warning", (*where, "subsys"), f"there is no subsystem {quoted(subsys.subsys)}", hint)
        if name in seen:
            earlier = loaded.place("logging", "logger_subsys", seen[name], "subsys").line
            why = f"{quoted(subsys.subsys)} is given again (line {earlier}); the last one counts"
            yield loaded.fault("warning", (*where, "subsys"), why, "remove one of them")
        seen[name] = index


def _uidgid(loaded: Loaded) -> Iterator[Fault]:
    for index, entry in enumerate(loaded.config.uidgid):
        if not entry.uid and not entry.gid:
            yield loaded.fault("warning", ("uidgid", index), "names nobody", "write uid: or gid:")


def _limits(loaded: Loaded) -> Iterator[Fault]:
    log_bytes_max, client_bytes_max = loaded.config.system.log_bytes_max, derive.client_bytes_max(loaded.config)
    if client_bytes_max > log_bytes_max:
        why = f"{client_bytes_max} is more than system.log_bytes_max, {log_bytes_max}: it would never be reached"
        yield loaded.fault("error", ("cpg", "client_bytes_max"), why, f"write at most {log_bytes_max}")
