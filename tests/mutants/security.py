"""Mutants of packet security: sealing, opening, replay, challenges, keys."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Area, Mutant

_S = "services/totem/security/"
_security = partial(Mutant, Area.SECURITY)

MUTANTS = (
    _security(
        _S + "sealer.py",
        '''for everybody, in order."""
        if self._key_number != self._keyring.in_use:
''',
        '''for everybody, in order."""
        if False:
''',
        "many packets at once are sealed with the key in use",
        ("tests/unit/security/test_sealer.py",),
    ),
    _security(
        _S + "sealer.py",
        "        self._counter += len(frames)  #",
        "        pass  #",
        "no counter, and so no nonce, is used twice",
        ("tests/unit/security/test_sealer.py",),
    ),
    _security(
        _S + "sealer.py",
        """        self._counter = counter = self._counter + 1
        size = len(frame)
        length = size + self.overhead_bytes - (size & self._padding_mask)
        return self._codec.seal(self._prefixes[content]""",
        """        counter = self._counter + 1
        size = len(frame)
        length = size + self.overhead_bytes - (size & self._padding_mask)
        return self._codec.seal(self._prefixes[content]""",
        "every sealed packet has a counter of its own",
        ("tests/unit/security/test_sealer.py",),
    ),
    _security(
        _S + "sealer.py",
        """        self._counter = counter = self._counter + 1
        size = len(frame)
        length = size + self.overhead_bytes - (size & self._padding_mask)
        prefix = self._token_prefix""",
        """        counter = self._counter + 1
        size = len(frame)
        length = size + self.overhead_bytes - (size & self._padding_mask)
        prefix = self._token_prefix""",
        "every sealed token has a counter of its own",
        ("tests/unit/security/test_sealer.py", "tests/unit/security/test_rings.py"),
    ),
    _security(
        _S + "agreement.py",
        '        self._private, self._public = None, b""\n',
        "        pass\n",
        "an ephemeral key is used for one forming of a ring",
        ("tests/unit/security/test_agreement.py", "tests/simulation/test_secrecy.py"),
    ),
    _security(
        _S + "ring_keys.py",
        "        self.secret[:] = bytes(len(self.secret))\n",
        "        pass\n",
        "the secret of a ring that ended is wiped",
        ("tests/unit/security/test_ring_keys.py",),
    ),
    _security(
        _S + "guard.py",
        "            raise Unprotected\n",
        "            pass\n",
        "nothing of a forward secret ring is taken that is sealed with the key file alone",
        ("tests/unit/security/test_rings.py",),
    ),
    _security(
        _S + "forward.py",
        '    return _expand(hmac.digest(cluster_key, secret, "sha256"), info, size)\n',
        '    return _expand(hmac.digest(cluster_key, cluster_key, "sha256"), info, size)\n',
        "the key of a ring does not come from the key file",
        ("tests/unit/security/test_forward.py",),
    ),
    _security(
        _S + "sealer.py",
        "        self._kept_counter = counter = self._kept_counter + 1\n",
        "        counter = self._kept_counter + 1\n",
        "every packet that is kept has a counter of its own",
        ("tests/unit/security/test_sealer.py",),
    ),
    _security(
        _S + "sealer.py",
        "TAIL.pack(length & 0xFFFF, counter), frame, bound)",
        'TAIL.pack(length & 0xFFFF, counter), frame, b"")',
        "a packet for one node cannot be opened by another one",
    ),
    _security(
        _S + "replay.py",
        "counter <= self.highest - WINDOW or ",
        "",
        "what is behind the window is refused",
        ("tests/unit/security/test_replay.py",),
    ),
    _security(
        _S + "replay.py",
        " or self.slots[slot] == counter:",
        ":",
        "a packet is taken once",
        ("tests/unit/security/test_replay.py",),
    ),
    _security(
        _S + "replay.py",
        "        if counter <= self._kept:\n",
        "        if counter < self._kept:\n",
        "a kept packet is taken once",
        ("tests/unit/security/test_replay.py", "tests/unit/security/test_challenge.py"),
    ),
    _security(
        _S + "opener.py",
        "ReplayWindow(counter if first_contact else 0, now_ns)",
        "ReplayWindow(0, now_ns)",
        "what a sender sealed before this node knew it is refused",
        ("tests/unit/security/test_challenge.py",),
    ),
    _security(
        _S + "opener.py",
        " or not hmac.compare_digest(question.nonce, nonce):",
        ":",
        "only the answer to the open question counts",
        ("tests/unit/security/test_challenge.py",),
    ),
    _security(
        _S + "opener.py",
        "            if held.boot != boot.boot:\n",
        "            if False:\n",
        "what was held of another boot than the one that answered is refused",
        ("tests/unit/security/test_challenge.py",),
    ),
    _security(
        _S + "opener.py",
        "        if prefix.sender == self._node_id:\n            return Reason.OWN_NODE_ID\n",
        "",
        "a packet that bears this node's own id is refused",
        ("tests/unit/security/test_refusals.py",),
    ),
    _security(
        _S + "opener.py",
        "        for peer in self.peers.all():\n            peer.forget_key(number)\n",
        "",
        "what is sealed with a removed key is refused",
        ("tests/unit/security/test_keys.py",),
    ),
    _security(
        _S + "challenge.py",
        "len(self.held) >= HELD_PER_SENDER or len(packet.frame) > bytes_left",
        "len(packet.frame) > bytes_left",
        "what is held of one sender is bounded",
        ("tests/unit/security/test_challenge.py",),
    ),
    _security(
        _S + "suites.py",
        "        if not hmac.compare_digest(self._digest(sealed, bound), datagram[-self._mac_size :]):\n",
        "        if False:\n",
        "an altered packet is not opened",
        ("tests/unit/security/test_suites.py",),
    ),
    _security(
        _S + "peers.py",
        "            if len(self._peers) >= PEERS_MAX:\n",
        "            if False:\n",
        "what is remembered of senders is bounded",
    ),
    _security(
        _S + "keys.py",
        "        if number == self.in_use:\n",
        "        if False:\n",
        "the key in use cannot be removed",
        ("tests/unit/security/test_keys.py",),
    ),
)
