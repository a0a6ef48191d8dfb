"""Programs change keys: what that does, and what is refused with its reason.

A key that does something in Corosync does it here, too, or its change is refused. Were it taken in silence, a program
would believe that it is in force. The list follows cmap_keys(7), corosync.conf(5), and what C Corosync was seen to do.
"""

from __future__ import annotations

from rondo.config import NodeConfig
from services.control import candidates, log_keys
from services.control.cmap.names import is_read_only
from services.control.cmap.values import CmapError, Refusal, Type, Value, added, make
from services.control.config_keys import FORCE_GATHER_KEY, NOT_FORCED
from services.control.core import Core
from services.control.quorum.settings import SettingsError

CANCEL_KEY = "quorum.cancel_wait_for_all"

_OF_THE_FILE = "it is of the configuration: change the file, then `rondo reload`"
_NO_WATCH = "nothing here watches memory, load, or a hardware watchdog"
_REASONS = {
    "runtime.blackbox.": "there is no blackbox; `rondo report` makes an archive",
    "totem.": _OF_THE_FILE,
    "quorum.device.": "there is no quorum device",
    "quorum.": _OF_THE_FILE,
    "resources.system.": _NO_WATCH,
    "resources.watchdog_timeout": _NO_WATCH,
}
"""Of keys that act in Corosync and not here, by their prefix; the first that fits."""


def set_key(core: Core, key: str, kind: int, value: object) -> None:
    """Set a key, and do what it triggers. Raises `CmapError`."""
    if key.startswith(log_keys.BELOW):
        _set_logging(core, key, make(kind, value))
    elif key == FORCE_GATHER_KEY:
        _force_gather(core, make(kind, value))
    elif key == CANCEL_KEY or key in candidates.VOTES_KEYS:
        _set_of_votes(core, key, make(kind, value))
    else:
        _check_acts(key)
        core.keys.set(key, kind, value)
    core.after_command()


def delete_key(core: Core, key: str) -> None:
    """Delete a key. Raises `CmapError`."""
    if key.startswith(log_keys.BELOW):
        _set_logging(core, key, None)
    else:
        _check_acts(key)
        core.keys.delete(key)
    core.after_command()


def increment_key(core: Core, key: str, step: int) -> Value:
    """Add to an integer, as if its new value were set. Returns what the key then has. Raises `CmapError`."""
    old = core.keys.get(key)
    if old is None or is_read_only(key):
        return core.keys.increment(key, step)  # refuses both, with the reason
    new = added(old, step)
    set_key(core, key, int(new.type), new.value)
    return core.keys.get(key) or new


def _check_acts(key: str) -> None:
    for prefix, reason in _REASONS.items():
        if key.startswith(prefix) and not is_read_only(key):
            raise CmapError(Refusal.NOT_SUPPORTED, f"{key} has no effect in Rondo: {reason}")


def _force_gather(core: Core, made: Value) -> None:
    """Have the ring formed anew, of the same members, as Corosync does at any value that the key does not have."""
    if made != NOT_FORCED:
        core.reform_wanted = True
        core.notices.append("Forcing into GATHER state: a program has set runtime.force_gather")
    core.keys.put(FORCE_GATHER_KEY, NOT_FORCED)


def _set_logging(core: Core, key: str, value: Value | None) -> None:
    """Change the logging of all services of this node."""
    config = log_keys.with_key(NodeConfig.from_msgpack(core.setup.packed), key, value)
    core.setup = candidates.logging_changed(config, core.setup, core.keys)
    core.adopted = core.setup.packed


def _set_of_votes(core: Core, key: str, made: Value) -> None:
    """Set an option of votequorum that programs may change, or cancel waiting for all."""
    wanted = candidates.VOTES_KEYS.get(key, Type.U8)
    if core.votes is None:
        raise CmapError(Refusal.NOT_EXIST, "no quorum: the configuration has no quorum.provider")
    if made.type != wanted:
        raise CmapError(Refusal.INVALID_PARAM, f"{key} is a value of type {wanted.text}")
    if key == CANCEL_KEY:
        if made.value:
            core.cancel_wait_for_all()
        core.keys.put(key, Value(Type.U8, 0))
        return
    before = core.keys.get(key)
    core.keys.set(key, int(made.type), made.value)
    try:
        core.votes.reload(candidates.with_keys(core.setup, core.keys, core.votes.tracking_barrier))
    except SettingsError as error:
        if before is None:
            core.keys.drop(key)
        else:
            core.keys.put(key, before)
        raise CmapError(Refusal.INVALID_PARAM, str(error)) from None
