"""Names of keys: their syntax, and the keys that programs cannot change. The lists are Corosync's."""

from __future__ import annotations

import re

from services.control.cmap.values import CmapError, Refusal

NAME_CHARACTERS_MIN = 3
NAME_CHARACTERS_MAX = 255
_NAME = re.compile(rf"[a-zA-Z0-9._\-/:]{{{NAME_CHARACTERS_MIN},{NAME_CHARACTERS_MAX}}}")

READ_ONLY_PREFIXES = (
    "internal_configuration.",
    "nodelist.",
    "runtime.config.",
    "runtime.services.",
    "runtime.totem.",
    "system.",
    "uidgid.config.",
)
_READ_ONLY_TOTEM = (
    "clear_node_high_bit", "cluster_name", "crypto_cipher", "crypto_hash", "crypto_model", "ip_version", "key",
    "keyfile", "netmtu", "nodeid", "rrp_mode", "secauth", "threads", "transport", "version",
)  # fmt: skip
_READ_ONLY_QUORUM = (
    "allow_downscale", "auto_tie_breaker", "auto_tie_breaker_node", "expected_votes_tracking", "last_man_standing",
    "last_man_standing_window", "wait_for_all",
)  # fmt: skip
READ_ONLY_KEYS = frozenset(
    [f"totem.{name}" for name in _READ_ONLY_TOTEM]
    + [f"quorum.{name}" for name in _READ_ONLY_QUORUM]
    + ["config.reload_in_progress", "config.totemconfig_reload_in_progress"]
)


def check_name(name: object) -> str:
    """Check the name of a key and return it. Raises `CmapError`."""
    if type(name) is not str or _NAME.fullmatch(name) is None:
        raise CmapError(
            Refusal.NAME_TOO_LONG,
            f"a key is named with {NAME_CHARACTERS_MIN} to {NAME_CHARACTERS_MAX} of a-z A-Z 0-9 . _ - / :",
        )
    return name


def is_read_only(name: str) -> bool:
    """Whether programs cannot change this key, whether it exists or not."""
    return name in READ_ONLY_KEYS or name.startswith(READ_ONLY_PREFIXES)
