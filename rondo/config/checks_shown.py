"""Checks of web{} and notify{}: access without protection, missing receivers, secrets in the clear."""

import ipaddress
import os
from collections.abc import Iterator

from rondo.config.faults import Fault, quoted
from rondo.config.loaded import Loaded
from rondo.config.node import NodeConfig


def check_shown(loaded: Loaded) -> Iterator[Fault]:
    """The rules of `services.web.server.check`, as errors of the file."""
    web = loaded.config.web
    beyond = not ipaddress.ip_address(web.address).is_loopback
    if bool(web.tls_cert) != bool(web.tls_key):
        given, missing = ("tls_cert", "tls_key") if web.tls_cert else ("tls_key", "tls_cert")
        yield loaded.fault("error", ("web", given), f"needs {missing}", f"write {missing} too, or remove it")
    elif web.tls_clients and not web.tls_cert:
        why = "certificates of clients are asked for with TLS alone"
        yield loaded.fault("error", ("web", "tls_clients"), why, "write tls_cert and tls_key")
    elif beyond and not (web.token_file or web.tls_clients):
        why = f"{web.address}: everybody on the network could look"
        yield loaded.fault("error", ("web", "address"), why, "write token_file or tls_clients, or 127.0.0.1")
    elif beyond and not web.tls_cert:
        why = f"{web.address}: the token would be read on the way"
        yield loaded.fault("error", ("web", "address"), why, "write tls_cert and tls_key, or 127.0.0.1")


def check_told(loaded: Loaded) -> Iterator[Fault]:
    """notify{} names one receiver, in a valid form."""
    notify = loaded.config.notify
    if loaded.given("notify") and not (notify.command or notify.webhook):
        yield loaded.fault(
            "error", ("notify",), "there is no receiver", "write a command or a webhook, or remove the section"
        )
    if notify.command and notify.webhook:
        yield loaded.fault("error", ("notify", "webhook"), "there is a command too", "remove one of them")
    if notify.command and not os.path.isabs(notify.command):
        why = f"{quoted(notify.command)} is no absolute path"
        yield loaded.fault("error", ("notify", "command"), why, "name a program by its absolute path")
    if notify.webhook and not notify.webhook.startswith(("http://", "https://")):
        yield loaded.fault("error", ("notify", "webhook"), "is no address", "write http:// or https:// before it")


def check_shown_files(loaded: Loaded, node: NodeConfig) -> Iterator[Fault]:
    """Warn of files in web{} that this user cannot read, and of a command in notify{} that is no program."""
    command = node.notify.command
    if command and not (os.path.isfile(command) and os.access(command, os.X_OK)):
        why = f"{command}: is no program that this user can run"
        yield loaded.fault("warning", ("notify", "command"), why, "make it, and set its mode with chmod +x")
    for name in ("token_file", "tls_cert", "tls_key", "tls_clients"):
        path = getattr(node.web, name)
        if path and not (os.path.isfile(path) and os.access(path, os.R_OK)):
            yield loaded.fault("warning", ("web", name), f"{path}: cannot be read", "make it, or name another file")
