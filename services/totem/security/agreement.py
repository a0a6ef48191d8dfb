"""How the members of a ring agree on a secret, using the joins and the commit token of Totem.

1. A node that looks for a ring draws an X25519 key pair and puts the public key into its joins.
2. The node that forms the ring writes the public keys of all members into the commit token, and draws a secret. Each
   member that passes the token on seals the secret for the next member alone, with both ephemeral keys and the cluster
   key. In the first round it also mixes 32 random bytes of its own into the secret. So the second round brings every
   member the same secret, to which all have contributed.
3. The ring's keys are derived from that secret and all public keys. They seal the data and the tokens of the ring
   (ring_keys.py).
4. The key pair is wiped as soon as the token is passed on for the second time. Afterwards nothing that a node stores
   opens a commit token.

Joins and commit tokens are authenticated with the cluster key: a node without it cannot take part. An attacker who gets
the cluster key later has no ephemeral key. The ring calls this (services/totem/ring/secrecy.py says when) and reads
none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from services.totem.security.forward import (
    BOX_SIZE,
    SECRET_SIZE,
    BadBox,
    hop_of,
    open_box,
    pair_of,
    ring_secret,
    seal_box,
    shared_of,
    stirred,
)
from services.totem.security.keys import Keyring
from services.totem.security.ring_keys import RingKeys

_KEY_NUMBER_SIZE = 2
_SHARED_MAX = 16
"""Enough for both neighbours in several attempts to form a ring."""


class Agreement:
    """This node's part in the agreement. `draw` returns 32 new random bytes."""

    def __init__(
        self, keyring: Keyring, rings: RingKeys, node_id: int, draw: Callable[[], bytes], *, required: bool
    ) -> None:
        self.is_required = required
        """Whether this node enters no ring that is not forward secret."""
        self._keyring = keyring
        self._rings = rings
        self._node_id = node_id
        self._draw = draw
        self._private: X25519PrivateKey | None = None
        self._public = b""
        self._shared: dict[bytes, bytearray] = {}
        """The X25519 shared secrets with the neighbours in the ring, by their public keys."""
        self._secret = bytearray()
        """The secret that goes round with the commit token."""

    def public(self) -> bytes:
        """The public key of the present pair, 32 bytes. Draws a pair if there is none."""
        if self._private is None:
            self._private, self._public = pair_of(self._draw())
        return self._public

    def start(self) -> None:
        """This node forms a ring: draw the secret. `stir` follows, as on every member."""
        self._keep(self._draw())

    def stir(self) -> None:
        """The commit token is here in its first round: mix in 32 random bytes. A ring that was formed but never
        installed is over."""
        self._rings.abandon()
        self._keep(stirred(self._secret, self._draw()))

    def take(self, ring: tuple[int, int], token_seq: int, sender: int, public: bytes, box: bytes) -> bool:
        """Open the secret in the commit token that `sender`, with this public key, passed on. False: it is not for the
        present key pair, or under no valid key; nothing has changed."""
        number = int.from_bytes(box[:_KEY_NUMBER_SIZE], "big")
        if len(box) != BOX_SIZE or number not in self._keyring:
            return False
        hop = hop_of(ring, token_seq, sender, self._node_id, (public, self.public()))
        try:
            secret = open_box(self._keyring.cluster_key(number), self._with(public), hop, box[_KEY_NUMBER_SIZE:])
        except BadBox:
            return False
        self._keep(secret)
        return True

    def give(self, ring: tuple[int, int], token_seq: int, target: int, public: bytes) -> bytes:
        """The secret, sealed for the next member; empty if its public key is invalid."""
        number = self._keyring.in_use
        hop = hop_of(ring, token_seq, self._node_id, target, (self.public(), public))
        try:
            box = seal_box(self._keyring.cluster_key(number), self._with(public), hop, bytes(self._secret))
        except BadBox:
            return b""
        return number.to_bytes(_KEY_NUMBER_SIZE, "big") + box

    def form(self, ring: tuple[int, int], members: Sequence[int], publics: Sequence[bytes]) -> None:
        """The second round: the ring's keys are known, and seal from now on. Empty `publics`: the ring has no
        secret."""
        self._rings.form(ring, ring_secret(self._secret, ring, members, publics) if publics else None)

    def install(self) -> None:
        """The ring is installed: the previous one is over."""
        self._rings.install()

    def end(self) -> None:
        """This node has left: wipe all secrets, so that nothing it sealed or opened can be opened here any more."""
        self.forget()
        self._rings.end()

    def forget(self) -> None:
        """Wipe the key pair and the secret that goes round. The next join has another pair."""
        self._private, self._public = None, b""
        for shared in self._shared.values():
            shared[:] = bytes(len(shared))
        self._shared.clear()
        self._secret[:] = bytes(len(self._secret))

    def _with(self, public: bytes) -> bytearray:
        """The shared secret with the owner of a public key. Raises BadBox."""
        found = self._shared.get(public)
        if found is None:
            self.public()
            assert self._private is not None
            found = bytearray(shared_of(self._private, public))
            if len(self._shared) >= _SHARED_MAX:
                del self._shared[next(iter(self._shared))]
            self._shared[public] = found
        return found

    def _keep(self, secret: bytes) -> None:
        if len(self._secret) != SECRET_SIZE:
            self._secret = bytearray(SECRET_SIZE)
        self._secret[:] = secret
