"""The configuration that a reload brings: control's checks of it, and how it takes effect here.

Another process reads the file and checks what may change at all: `rondo.config.candidate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rondo.config import NodeConfig, NodeConfigError
from services.control import log_keys, told
from services.control.cfg.reload import Candidate
from services.control.cmap.keymap import Keymap
from services.control.cmap.values import Type, Value
from services.control.config_keys import keys_of, logging_keys
from services.control.quorum.settings import Settings, SettingsError, reloaded, settle
from services.control.quorum.votequorum import Votequorum
from services.control.setup import Setup, setup_of

IN_PROGRESS_KEYS = ("config.reload_in_progress", "config.totemconfig_reload_in_progress")
VOTES_KEYS = {"quorum.expected_votes": Type.U32, "quorum.two_node": Type.U8, "quorum.votes": Type.U32}
"""Programs may set these keys, with these types; votequorum then reads its options again. A reload resets them."""


def judged(candidate: Candidate, members: Sequence[int], setup: Setup, tracking_barrier: int) -> Candidate:
    """The candidate with this node's objections in the present ring. If there are none, with its digests."""
    if candidate.config is None:
        return candidate
    try:
        config = NodeConfig.from_msgpack(candidate.config)
        new = setup_of(config)
        faults = [
            f"{config.config_file}: nodelist: node {node} is in the ring and not in the list; stop it first "
            f"(`rondo stop` there, or `rondo kill {node}`)"
            for node in members
            if config.members and node not in config.members
        ]
        if new.options is not None:
            settled(setup, new, tracking_barrier)
    except (NodeConfigError, SettingsError) as error:
        faults = [str(error)]
    if faults:
        return Candidate(None, faults)
    return candidate._replace(digests=new.digests)


def settled(old: Setup, new: Setup, tracking_barrier: int) -> Settings:
    """Votequorum's settings after a reload. Raises `SettingsError`."""
    assert old.options is not None
    assert new.options is not None
    at_start, _ = settle(old.options, old.node, old.nodelist)
    options = reloaded(old.options, at_start, new.options)
    return settle(options, new.node, new.nodelist, tracking_barrier)[0]


def with_keys(setup: Setup, keys: Keymap, tracking_barrier: int) -> Settings:
    """Votequorum's settings, with the options that programs have set by keys. Raises `SettingsError`."""
    assert setup.options is not None
    at_start, _ = settle(setup.options, setup.node, setup.nodelist)
    options = reloaded(setup.options, at_start, setup.options)
    options = told.with_keys(options, {key: keys.get(key) for key in VOTES_KEYS})
    return settle(options, setup.node, setup.nodelist, tracking_barrier)[0]


def come_into_force(packed: bytes, old: Setup, keys: Keymap, votes: Votequorum | None) -> Setup:
    """Change keys and votes. Returns the new setup."""
    new = setup_of(NodeConfig.from_msgpack(packed))
    _note_progress(keys, is_on=True)
    _replace_keys(keys, old.keys, new.keys)
    if votes is not None and new.options is not None:
        votes.reload(settled(old, new, votes.tracking_barrier))
    _note_progress(keys, is_on=False)
    return new


def logging_changed(config: NodeConfig, old: Setup, keys: Keymap) -> Setup:
    """This configuration differs from the one in force only in logging{}: change the keys. Returns the new setup."""
    new = replace(old, packed=config.to_msgpack(), keys=dict(keys_of(config)))
    keys.replace_below(log_keys.BELOW, logging_keys(config))
    return new


def _note_progress(keys: Keymap, *, is_on: bool) -> None:
    for key in IN_PROGRESS_KEYS:
        keys.put(key, Value(Type.U8, int(is_on)))


def _replace_keys(keys: Keymap, old: Mapping[str, Value], new: Mapping[str, Value]) -> None:
    """Replace the file's keys. Keys that programs have set stay, unless the file has them."""
    for key in (*old, *VOTES_KEYS):
        if key not in new:
            keys.drop(key)
    for key, value in new.items():
        keys.put(key, value)
