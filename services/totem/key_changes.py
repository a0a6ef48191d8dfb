"""Changes the keys of a running node (`rondo key install | use | remove`), and checks that the other nodes agree.

A `KeyHolder` opens and seals with the keys: packet security for udp and udpu, knet's keyring for knet.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Protocol

from rondo.config.key import KEY_BYTES_MAX, KEY_BYTES_MIN, fingerprint
from rondo.node.logs import notice
from services.totem.keyring_file import Keys, KeyStore
from services.totem.security.keybook import KeyBook
from services.totem.wire.notices import KeyNotice

_log = logging.getLogger("TOTEM")


class KeyHolder(Protocol):
    """Accepts packets under several keys, and seals with one."""

    @property
    def key_in_use(self) -> int:
        """Number of the key that seals."""

    @property
    def key_numbers(self) -> tuple[int, ...]:
        """The valid keys, in the order in which they were installed."""

    def key_identity(self, number: int) -> bytes:
        """The identifier of a key for other nodes, 8 bytes. It reveals nothing about the key."""

    def install_key(self, key: bytes) -> int:
        """Accept packets under this key too. Returns its number. Raises ValueError."""

    def use_key(self, number: int) -> None:
        """Seal with this key from now on."""

    def remove_key(self, number: int) -> None:
        """Refuse packets under this key from now on."""


class KeyChanges:
    """Carries out `rondo key` on this node."""

    def __init__(self, holder: KeyHolder, keys: Keys, store: KeyStore | None, suite_name: str) -> None:
        """`keys`: the keys for `holder`. It already has the one in use, and gets the others here."""
        self.suite_name = suite_name
        self.keys_of_others = KeyBook()
        self._holder = holder
        self._store = store
        self._keys = {holder.install_key(key): key for key in keys.valid}
        holder.use_key(holder.install_key(keys.in_use))

    @property
    def key_fingerprint(self) -> str:
        """Fingerprint of the key in use."""
        return fingerprint(self._keys[self._holder.key_in_use])

    @property
    def has_several_keys(self) -> bool:
        """Whether a key is being changed."""
        return len(self._keys) > 1

    def key_notice(self, node_id: int) -> KeyNotice:
        """The notice that tells the other nodes of this node's keys."""
        identity = self._holder.key_identity
        valid = tuple(identity(number) for number in self._holder.key_numbers)
        return KeyNotice(node_id, valid, identity(self._holder.key_in_use))

    def install_key(self, key: bytes, now_ns: int) -> str:
        """Accept packets under this key too. Returns its fingerprint. Raises ValueError with one line."""
        if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
            raise ValueError(f"a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, not {len(key)}")
        self._keys[self._holder.install_key(key)] = key
        self._keys_changed(now_ns, "is installed", fingerprint(key))
        return fingerprint(key)

    def use_key(self, name: str, others: Iterable[int], now_ns: int, *, force: bool = False) -> str:
        """Seal with this key from now on. Returns its fingerprint. Raises ValueError with one line.

        `others`: the nodes that must accept packets under it; `force`: do it even if they do not.
        """
        number = self._number_of(name)
        having = self.keys_of_others.having(self._holder.key_identity(number), now_ns)
        self._agreed(others, having, force, now_ns, "does not have this key", "install it there first")
        self._holder.use_key(number)
        self._keys_changed(now_ns, "is in use", self.key_fingerprint)
        return self.key_fingerprint

    def remove_key(self, name: str, others: Iterable[int], now_ns: int, *, force: bool = False) -> str:
        """Refuse packets under this key from now on. Returns its fingerprint. Raises ValueError with one line."""
        number = self._number_of(name)
        told = fingerprint(self._keys[number])
        if number == self._holder.key_in_use:
            raise ValueError(f"the key {told} is in use here; use another one first")
        using = self.keys_of_others.using(self._holder.key_identity(number), now_ns)
        calm = [node for node in others if node not in using]
        self._agreed(others, calm, force, now_ns, "still seals with this key", "use another one there first")
        self._holder.remove_key(number)
        del self._keys[number]
        self._keys_changed(now_ns, "is removed", told)
        return told

    def _agreed(
        self, others: Iterable[int], agreeing: list[int], force: bool, now_ns: int, what: str, mend: str
    ) -> None:
        """Raise ValueError unless all others have sent a key notice lately, and agree."""
        if force:
            return
        silent = self.keys_of_others.silent(others, now_ns)
        against = [node for node in others if node not in agreeing and node not in silent]
        if against:
            raise ValueError(f"{_nodes(against)} {what}; {mend}, or use --force and cut it off")
        if silent:
            raise ValueError(
                f"{_nodes(silent)} sent no notice of its keys in the last seconds; start it and let it join the ring, "
                "or use --force and cut it off if it disagrees"
            )

    def _number_of(self, name: str) -> int:
        """The number of the key whose fingerprint is `name`, or begins with it and is the only one."""
        wanted = name.replace(":", "").lower()
        found = [n for n, key in self._keys.items() if wanted and fingerprint(key).replace(":", "").startswith(wanted)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(map(fingerprint, self._keys.values()))
        raise ValueError(f"{'several keys are' if found else 'no key is'} named {name}; there are: {known}")

    def _keys_changed(self, now_ns: int, what: str, told: str) -> None:
        notice(_log, "The key %s %s.", told, what)
        self.keys_of_others.tell_soon(now_ns)
        if self._store is not None:
            self._store.save(Keys(tuple(self._keys.values()), self._keys[self._holder.key_in_use]))

    def key_status(self, others: Iterable[int], now_ns: int) -> dict[str, Any]:
        """The answer to `rondo key status`. `stored`: whether the keyring file is up to date."""
        told, identity = self.keys_of_others, self._holder.key_identity
        return {
            "suite": self.suite_name,
            "keys": [
                {
                    "fingerprint": fingerprint(key),
                    "in_use": number == self._holder.key_in_use,
                    "nodes_having": told.having(identity(number), now_ns),
                    "nodes_using": told.using(identity(number), now_ns),
                }
                for number, key in self._keys.items()
            ],
            "nodes": list(others),
            "nodes_silent": told.silent(others, now_ns) if self.has_several_keys else [],
            "stored": "pending" if self._store is not None and self._store.unsaved else "yes",
            "store_error": self._store.error if self._store is not None else "",
        }

    def announce(self) -> None:
        """Log how packets are protected, so that nodes can be compared."""
        _log.info("Packets are protected by %s, key fingerprint %s.", self.suite_name, self.key_fingerprint)

    def status(self) -> dict[str, Any]:
        """The keys for `rondo status`."""
        holder = self._holder
        return {
            "suite": self.suite_name,
            "key_fingerprint": self.key_fingerprint,
            "key_in_use": holder.key_in_use,
            "keys": list(holder.key_numbers),
            "fingerprints": [fingerprint(key) for key in self._keys.values()],
        }


def _nodes(numbers: Iterable[int]) -> str:
    return "each of nodes " + " ".join(map(str, numbers)) if len(list(numbers)) > 1 else f"node {next(iter(numbers))}"
