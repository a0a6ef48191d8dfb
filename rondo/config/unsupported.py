"""What Corosync has and Rondo has not: sections and keys that are passed over, each with a plain word about it.

They are warnings, not errors: the rest of such a file means the same here as there. Values that would change what
the cluster does if they were passed over (`transport: knet`, `rrp_mode: active`) are errors, at their declarations.
"""

import re
from typing import NamedTuple

from rondo.config.schema_node import NO_KNET
from rondo.config.schema_totem import ONE_LINK

NO_QUORUM = "Rondo provides no quorum: after a split both sides go on"

SECTIONS: dict[str, str] = {
    "quorum": NO_QUORUM,
    "resources": "Rondo does not watch resources",
    "nozzle": "Rondo makes no nozzle device",
    "qb": "clients reach Rondo over ZeroMQ",
    "amf": "Rondo has no AMF",
    "aisexec": "Rondo runs as the user that starts it",
    "service": "Rondo has no service plug-ins",
}
"""Top-level sections."""


class KeyPattern(NamedTuple):
    """Keys of sections that Rondo knows, by their full name, and how the reference writes them."""

    pattern: re.Pattern[str]
    shown: str


KEYS: tuple[tuple[KeyPattern, str], ...] = (
    (KeyPattern(re.compile(r"totem\.knet_\w+"), "totem.knet_*"), NO_KNET),
    (KeyPattern(re.compile(r"totem\.interface\.knet_\w+"), "totem.interface.knet_*"), NO_KNET),
    (KeyPattern(re.compile(r"totem\.rrp_\w+"), "totem.rrp_*"), "Rondo has no redundant rings"),
    (KeyPattern(re.compile(r"totem\.vsftype"), "totem.vsftype"), "Rondo has no virtual synchrony filter"),
    (KeyPattern(re.compile(r"nodelist\.node\.ring[1-9][0-9]*_addr"), "nodelist.node.ring1_addr ..."), ONE_LINK),
)
"""Declared options come first (`totem.rrp_mode`)."""


def section_reason(name: str) -> str | None:
    """Why a top-level section has no effect; None if nobody knows it."""
    return SECTIONS.get(name)


def key_reason(path: str) -> str | None:
    """Why a key has no effect; None if nobody knows it."""
    return next((reason for key, reason in KEYS if key.pattern.fullmatch(path)), None)
