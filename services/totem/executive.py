"""What this process does with executive messages: CMAP's step of the sync, in which nodes compare configurations.

At each ring change every node tells its totem.config_version. When a node first meets others and has an older
configuration than one of them, it must not take part: it leaves. 0 means that a node does not say.
"""

from __future__ import annotations

from services.totem.wire.base import Malformed
from services.totem.wire.executive import Service, decode_config_version, encode_config_version, service_of


class ConfigVersionError(Exception):
    """Others have a newer configuration; the text is the log line."""


class Executive:
    """The CMAP service, as far as the ring needs it."""

    def __init__(self, config_version: int) -> None:
        self._own = config_version
        self._met_others = False
        self.config_versions: dict[int, int] = {}
        """What the members of this ring have told, by node."""
        self.ignored = 0
        """Messages of services that this node does not have, and such as are malformed."""

    def configuration(self) -> None:
        """A new ring: what was told before does not count."""
        self.config_versions.clear()

    def sync_messages(self) -> list[bytes]:
        """This node's messages for CMAP's step of the sync."""
        return [encode_config_version(self._own)]

    def message(self, sender: int, data: bytes) -> None:
        """An executive message that is not CPG's, in its place in the order."""
        try:
            if service_of(data) == (Service.CMAP, 0):
                told = decode_config_version(data)
                if told is not None:
                    self.config_versions[sender] = told.version
                return
        except Malformed:
            pass
        self.ignored += 1

    def activated(self, members: tuple[int, ...]) -> None:
        """All members have told. Raises `ConfigVersionError` if this node, meeting others first, is behind."""
        if len(members) < 2 or self._met_others:
            return
        self._met_others = True
        newest = max(self.config_versions.values(), default=0)
        if self._own and self._own < newest:
            raise ConfigVersionError(
                f"Received config version ({newest}) is different than my config version ({self._own})! Exiting; "
                "copy the newest corosync.conf to this node"
            )
