"""Checks that no other process has the ports that a node needs."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from rondo.doctor.finding import Finding, fault, ok, warn
from rondo.doctor.subject import Ip, Subject, family_of

_SOCKETS_SHOWN = "socket:["


def ports(subject: Subject) -> Iterator[Finding]:
    """Check the UDP port of each link, and the TCP ports for remote clients and the page. A running node has its ports
    already."""
    config = subject.config
    if config is None or not subject.own:
        return
    if subject.totem is not None:
        yield ok("ports", "the running node has its ports")
        return
    wanted = []
    for link, text in subject.own.items():
        ip = subject.ip_of(text)
        if ip is not None and subject.machine.has_address(str(ip)):
            wanted.append((socket.SOCK_DGRAM, ip, subject.port_of(link), "totem.interface.mcastport"))
            if config.transport == "udp":
                wanted.append((socket.SOCK_DGRAM, ip, subject.port_of(link) - 1, "totem.interface.mcastport"))
    if config.remote.enabled and (ip := subject.ip_of(config.remote.address)) is not None:
        wanted.append((socket.SOCK_STREAM, ip, config.remote.port, "remote.port"))
    if config.web.enabled and (ip := subject.ip_of(config.web.address)) is not None:
        wanted.append((socket.SOCK_STREAM, ip, config.web.port, "web.port"))
    found = False
    for kind, ip, port, option in wanted:
        if why := _why_not(kind, ip, port):
            found = True
            yield _taken(kind, ip, port, option, why)
    if not found:
        yield ok("ports", f"free: {', '.join(f'{_name(kind)} {port}' for kind, _, port, _ in wanted)}")


def _why_not(kind: socket.SocketKind, ip: Ip, port: int) -> int:
    """The error number of binding a socket there; 0 if that works."""
    with socket.socket(family_of(ip), kind | socket.SOCK_CLOEXEC) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(ip), port))
        except OSError as error:
            return error.errno or errno.EINVAL
    return 0


def _taken(kind: socket.SocketKind, ip: Ip, port: int, option: str, why: int) -> Finding:
    where = f"{_name(kind)} {ip}:{port}" if ip.version == 4 else f"{_name(kind)} [{ip}]:{port}"
    if why == errno.EADDRINUSE:
        holder = _holder(kind, ip, port)
        what = f"the port is taken by {holder or 'another program'}"
        if option == "web.port":
            mend = f"stop {holder or 'it'}, or set {option} to a free port: the node works, and has no page until then"
            return warn("ports", what, where, mend)
        mend = f"stop {holder or 'it'}, or set {option} to a free port on all nodes"
        return fault("ports", what, where, mend)
    if why in (errno.EACCES, errno.EPERM):
        mend = f"start the node as root, or set {option} to a port above 1023"
        return fault("ports", "this user may not have the port", where, mend)
    return fault("ports", f"the port cannot be had: {os.strerror(why)}", where, f"set {option} to another port")


def _name(kind: socket.SocketKind) -> str:
    return "TCP" if kind == socket.SOCK_STREAM else "UDP"


def _holder(kind: socket.SocketKind, ip: Ip, port: int) -> str:
    """The process that has the port; empty if this user may not see it. It is found by the kernel's table of sockets
    and the descriptors of all processes."""
    table = Path("/proc/net") / (_name(kind).lower() + ("6" if ip.version == 6 else ""))
    inodes = set()
    with contextlib.suppress(OSError):
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"{_SOCKETS_SHOWN}{fields[9]}]")
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and _has_one_of(process, inodes):
            with contextlib.suppress(OSError):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


def _has_one_of(process: Path, inodes: set[str]) -> bool:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return False
    for each in descriptors:
        with contextlib.suppress(OSError):
            if os.readlink(each) in inodes:
                return True
    return False
