"""Sections and keys that Corosync has and Rondo lacks. They are ignored, each with a reason.

Most are warnings, not errors: the rest of such a file means the same in Rondo. Values that would change the cluster's
behaviour if they were ignored (`knet_transport: sctp`, `rrp_mode: active`) are errors where they are declared. So are
the sections of `REFUSED_SECTIONS`.
"""

import re
from typing import NamedTuple

SECTIONS: dict[str, str] = {
    "resources": "Rondo does not watch resources",
    "qb": "clients reach Rondo over ZeroMQ",
    "amf": "Rondo has no AMF",
    "aisexec": "Rondo runs as the user that starts it",
    "service": "Rondo has no service plug-ins",
    "logging.logger": "it is openais's; Corosync and Rondo have logger_subsys",
}
"""Sections, sub-sections by their full name."""

REFUSED_SECTIONS: dict[str, tuple[str, str]] = {
    "nozzle": (
        "Rondo makes no nozzle device: what is sent through it would reach nobody",
        "remove the section, or leave this node with Corosync",
    ),
    "quorum.device": (
        "Rondo asks no quorum device, and would count votes that the other nodes count differently",
        "remove the section and give a node more votes, use auto_tie_breaker, or add a node",
    ),
}
"""Sections that are errors, by their full name: the reason and the remedy."""


class KeyPattern(NamedTuple):
    """Keys of sections that Rondo knows, by their full name, and how the reference writes them."""

    pattern: re.Pattern[str]
    shown: str


KEYS: tuple[tuple[KeyPattern, str], ...] = (
    (
        KeyPattern(re.compile(r"totem\.rrp_\w+"), "totem.rrp_*"),
        "redundant rings are those of Corosync 2; transport: knet has several links",
    ),
    (KeyPattern(re.compile(r"compatibility"), "compatibility"), "Rondo speaks as Corosync 3.1 does"),
    (
        KeyPattern(re.compile(r"totem\.cluster_uuid"), "totem.cluster_uuid"),
        "it is a note of the tool that wrote the file",
    ),
    (KeyPattern(re.compile(r"totem\.crypto_(compat|type)"), "totem.crypto_type"), "see crypto_cipher"),
    (KeyPattern(re.compile(r"logging\.(logger_subsys\.)?tags"), "logging.tags"), "Rondo's log has no tags"),
    (KeyPattern(re.compile(r"totem\.vsftype"), "totem.vsftype"), "Rondo has no virtual synchrony filter"),
)
"""Declared options take precedence (`totem.rrp_mode`)."""


def section_reason(name: str) -> str | None:
    """Why a section, by its full name, has no effect; None if it is unknown."""
    return SECTIONS.get(name)


def key_reason(path: str) -> str | None:
    """Why a key has no effect; None if it is unknown."""
    return next((reason for key, reason in KEYS if key.pattern.fullmatch(path)), None)
