"""Checks of the configuration file, of the names and addresses in it, and of the key."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from rondo.config import ConfigError, Fault
from rondo.config.changes import carried_over, changed, refused
from rondo.config.checks_machine import check_machine
from rondo.config.key import KeyFileError, fingerprint, read_key, read_private
from rondo.config.resolver import resolve
from rondo.doctor.finding import Finding, fault, ok, warn
from rondo.doctor.subject import Subject, family_of


def configuration(subject: Subject) -> Iterator[Finding]:
    """The findings of `rondo config check`, except for addresses and keys, which have checks of their own."""
    if not subject.is_ours:
        yield from (_of(each, "addresses") for each in subject.config_faults)
    else:
        yield from (_of(each, "configuration") for each in subject.config_faults)
    if subject.loaded is None:
        return
    warnings = [*subject.loaded.warnings]
    if subject.config is not None and subject.is_ours:
        warnings += check_machine(subject.loaded, subject.config)
    for each in warnings:
        if each.key != "totem.keyfile":
            yield _of(each, "configuration")
    if subject.is_running and subject.config is not None and not subject.config_faults:
        yield from _changed(subject)
    if not warnings and not subject.config_faults:
        where = subject.loaded.file or "no file: a single node on loopback"
        yield ok("configuration", "the configuration can be used", where)


def _changed(subject: Subject) -> Iterator[Finding]:
    """Warn if the file has changed since the node was started with it, or since the last reload."""
    loaded, running = subject.loaded, subject.config
    assert loaded is not None
    assert running is not None
    if not loaded.file or loaded.file != running.config_file:
        return
    try:
        new = carried_over(running, loaded, resolve(loaded, subject.machine, state_dir=running.state_dir))
    except ConfigError as error:
        yield from (_of(each, "configuration") for each in error.faults)
        return
    fixed = refused(running, loaded, new)
    for each in fixed:
        what = f"{each.key}: the file has another value than the running node, and it cannot change while that runs"
        yield warn("configuration", what, str(each.place or loaded.file), "put it back; or rondo stop and rondo start")
    if not fixed and (names := changed(running, new)):
        what = f"the file is not what the running node works with: it has another {', '.join(names)}"
        yield warn("configuration", what, loaded.file, "rondo reload brings it into force, on all nodes at once")


def _of(found: Fault, check: str) -> Finding:
    make = fault if found.severity == "error" else warn
    what = f"{found.key}: {found.why}" if found.key else found.why
    return make(check, what, str(found.place or ""), found.mend)


def names(subject: Subject) -> Iterator[Finding]:
    """Check that names resolve, and not to loopback. 127.0.1.1 in /etc/hosts is the usual mistake."""
    written = [(node, text) for node, links in subject.others.items() for text in links.values()]
    if subject.config is not None:
        written += [(subject.config.node_id, text) for text in subject.own.values()]
    found = False
    is_alone = len(written) < 2
    for node, text in sorted(written):
        ips = subject.ips(text)
        if [str(each) for each in ips] == [text]:
            continue
        where = f"node {node}, {text}"
        if not ips:
            found = True
            mend = "write its address instead of the name, or put the name into /etc/hosts or DNS"
            yield fault("names", f"the name {text} of node {node} is unknown on this machine", where, mend)
        elif any(ip.is_loopback for ip in ips) and not is_alone and not subject.is_loopback_cluster():
            found = True
            what = (
                f"the name {text} of node {node} resolves to {', '.join(map(str, ips))}, which other nodes cannot reach"
            )
            mend = f"take {text} off the line of that loopback address in /etc/hosts, or write the node's address"
            yield fault("names", what, where, mend)
    if not found and written:
        yield ok("names", "all nodes are given by address, or by names that resolve")


def addresses(subject: Subject) -> Iterator[Finding]:
    """Check that this machine has the node's addresses, that their interfaces are up, and that there are routes."""
    found = False
    interfaces = subject.machine.interface_addresses()
    for link, text in subject.own.items():
        ip = subject.ip_of(text)
        where = f"link {link}, {text}"
        if ip is None:
            continue  # `names` reports it
        if not subject.machine.has_address(str(ip)):
            found = True
            has = ", ".join(str(each.address) for each in interfaces if not each.address.is_loopback) or "none"
            what = f"this node's address {ip} is not of this machine, which has {has}"
            yield fault("addresses", what, where, f"give the interface {ip}, or write the address that it has")
        elif any(each.address == ip and not each.up for each in interfaces):
            found = True
            name = next(each.name for each in interfaces if each.address == ip)
            yield fault("addresses", f"the interface {name} of {ip} is down", where, f"ip link set {name} up")
    for node, links in subject.others.items():
        for link, text in links.items():
            if why := _no_route(subject, text):
                found = True
                mend = "give this machine an address in that network, or a route to it"
                yield fault("addresses", f"there is no way to node {node} at {text}: {why}", f"link {link}", mend)
    if not found and subject.own:
        yield ok("addresses", f"{', '.join(subject.own.values())} is on this machine, with a way to every other node")


def _no_route(subject: Subject, text: str) -> str:
    """The reason why the kernel has no route; empty if it has one. No packet is sent."""
    ip = subject.ip_of(text)
    if ip is None:
        return ""
    with socket.socket(family_of(ip), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(ip), 9))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def page(subject: Subject) -> Iterator[Finding]:
    """Check the token and the TLS key of web{}: with a token that others can read the page is given up."""
    config = subject.config
    if config is None or not subject.is_ours or not config.web.enabled:
        return
    for path in filter(None, (config.web.token_file, config.web.tls_key)):
        try:
            read_private(Path(path), 1)
        except KeyFileError as error:
            what = error.why.replace("the key", "the token" if path == config.web.token_file else "the page's key")
            yield warn("page", what, str(error.path), error.mend)
        except OSError:
            continue  # `configuration` reports it


def key(subject: Subject) -> Iterator[Finding]:
    """Check that the key can be read by this user alone, and is the one that the running node uses."""
    config = subject.config
    if config is None:
        return
    security = config.security
    if not security.enabled:
        mend = (
            "write secauth: on on all nodes (rondo keygen makes the key), unless C nodes of udp or udpu are in the ring"
        )
        yield warn("key", "packets between nodes are not protected", config.config_file, mend)
        return
    if not security.key_file:
        yield ok("key", "the key stands in the configuration", config.config_file)
        return
    path = Path(security.key_file)
    if security.key_created_if_missing and not path.exists():
        yield ok("key", "the key of the single node is made when it starts", str(path))
        return
    try:
        found = fingerprint(read_key(path))
    except KeyFileError as error:
        yield fault("key", error.why, str(error.path), error.mend)
        return
    if os.stat(path.parent).st_mode & 0o002 and not os.stat(path.parent).st_mode & 0o1000:
        what = "everybody may replace the key: its directory can be written by all"
        yield fault("key", what, str(path.parent), f"chmod o-w {path.parent}")
    used = (subject.totem or {}).get("security") or {}
    if used and found not in used["fingerprints"]:
        what = f"the running node has not got the key of the file (fingerprint {found})"
        yield warn(
            "key", what, str(path), "rondo key status shows the keys in use; after a change, write the new key there"
        )
    else:
        yield ok("key", f"fingerprint {found}: compare it with the other nodes", str(path))
