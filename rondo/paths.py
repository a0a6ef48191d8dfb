"""The paths of configuration, key, run and state directory, and sockets. Options override the environment.

| variable | place | default |
|---|---|---|
| COROSYNC_MAIN_CONFIG_FILE | configuration | /etc/corosync/corosync.conf |
| COROSYNC_TOTEM_AUTHKEY_FILE | key | /etc/corosync/authkey |
| RONDO_RUN_DIR | sockets, locks, logs | /run/rondo as root, else $XDG_RUNTIME_DIR/rondo, else /tmp/rondo-UID |
| RONDO_STATE_DIR | ring sequence, SAM table | /var/lib/rondo as root, else ~/.local/state/rondo |
| RONDO_SOCKET | what a client connects to | ipc://$RONDO_RUN_DIR/gateway.sock |

All returned paths are absolute: the services run in other directories than the command that started them.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

CONFIG_FILE_DEFAULT = "/etc/corosync/corosync.conf"
KEY_FILE_DEFAULT = "/etc/corosync/authkey"

SOCKET_PATH_BYTES_MAX = 107
"""`sun_path` of unix(7) has 108 bytes, one of them for the NUL at its end."""

AnyPath = str | os.PathLike[str]
P = TypeVar("P", AnyPath, AnyPath | None, str | None)


class PathError(Exception):
    """A path that cannot be used. The text names it, the reason and the remedy, in one line."""


def config_file(option: AnyPath | None = None) -> tuple[Path, bool]:
    """The configuration file, and whether it was named explicitly (then it must exist)."""
    if option is not None:
        return _absolute(_given(option, "configuration")), True
    if named := os.environ.get("COROSYNC_MAIN_CONFIG_FILE"):
        return _absolute(named), True
    return Path(CONFIG_FILE_DEFAULT), False


def key_file(configured: AnyPath | None = None) -> Path:
    """The key file: `configured` (an option or `totem.keyfile`), else the environment's, else the default."""
    return _absolute(
        _given(configured, "key file") or os.environ.get("COROSYNC_TOTEM_AUTHKEY_FILE") or KEY_FILE_DEFAULT
    )


def run_dir(option: AnyPath | None = None) -> Path:
    """The run directory; it need not exist yet (`make_run_dir`). Raises PathError if another user could have planted
    it."""
    if named := _given(option, "run directory") or os.environ.get("RONDO_RUN_DIR"):
        return _absolute(named)
    if os.geteuid() == 0:
        return Path("/run/rondo")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # By the XDG specification a relative path is ignored.
    if os.path.isabs(runtime):
        return Path(runtime) / "rondo"
    check_directory(run_dir_in_tmp())
    return run_dir_in_tmp()


def state_dir(option: AnyPath | None = None, configured: AnyPath | None = None) -> Path:
    """The state directory: the option, else the environment's, else `system.state_dir`, else the default."""
    if named := _given(option, "state directory") or os.environ.get("RONDO_STATE_DIR") or configured:
        return _absolute(named)
    if os.geteuid() == 0:
        return Path("/var/lib/rondo")
    try:
        return Path.home() / ".local" / "state" / "rondo"
    except RuntimeError:
        raise PathError("no home directory for the state of this node; set RONDO_STATE_DIR") from None


def make_run_dir(option: AnyPath | None = None) -> Path:
    """The run directory, created if missing. Raises PathError if it belongs to another user, who could replace
    sockets."""
    path = run_dir(option)
    # Clients of other users (uidgid{}) must be able to enter root's, whatever umask the node is started with.
    is_open = os.geteuid() == 0 and path != run_dir_in_tmp()
    with _umask(0o022 if is_open else None):
        _make_directory(path, "RONDO_RUN_DIR", private=path == run_dir_in_tmp())
    return path


def check_directory(directory: Path) -> None:
    """Raises PathError if another user may have put a socket there. A directory that does not exist passes."""
    is_in_tmp = directory == run_dir_in_tmp()
    try:
        found = directory.lstat() if is_in_tmp else directory.stat()
    except OSError:
        return
    if is_in_tmp:
        # Every user may create this one, so it is trusted only if it certainly belongs to this user.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            what = "not a directory" if not stat.S_ISDIR(found.st_mode) else f"made by user {found.st_uid}"
            raise PathError(
                f"{directory}: {what}, not a run directory of yours; set RONDO_RUN_DIR, and ask who made it"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise PathError(f"{directory}: others may enter it; chmod 0700 {directory}")
    elif found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise PathError(f"{directory}: everybody may write to it, so what answers there may be anybody; chmod o-w it")


def make_state_dir(option: AnyPath | None = None, configured: AnyPath | None = None) -> Path:
    """The state directory, created if missing. Raises PathError if it cannot be used."""
    path = state_dir(option, configured)
    with _umask(None):
        _make_directory(path, "RONDO_STATE_DIR", private=False)
    return path


def client_socket(option: str | None = None, run_dir_option: AnyPath | None = None) -> str:
    """The ZeroMQ endpoint for a client: the option, else RONDO_SOCKET, else the one in the run directory.

    A run directory given as an option overrides RONDO_SOCKET. Raises PathError.
    """
    if _given(option, "socket"):
        return str(option)
    if run_dir_option is None and (named := os.environ.get("RONDO_SOCKET")):
        return named
    directory = run_dir(run_dir_option)
    if directory == run_dir_in_tmp():
        # A client may wait for its node. Once the directory exists, nobody else can create it meanwhile.
        make_run_dir(directory)
    return socket_endpoint(directory, "gateway.sock")


def socket_endpoint(directory: Path, name: str) -> str:
    """The ZeroMQ endpoint `ipc://DIRECTORY/NAME`. Raises PathError if the path is too long for the system."""
    path = directory / name
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_BYTES_MAX:
        raise PathError(
            f"{path}: a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes, this one {length}; "
            "choose a shorter run directory (--run-dir or RONDO_RUN_DIR)"
        )
    return f"ipc://{path}"


def _given(option: P, what: str) -> P:
    """A path that was given as an option. `rondo stop --run-dir "$UNSET"` must not stop the node of the default."""
    if option is not None and not os.fspath(option):
        raise PathError(f"the {what} that was given is an empty text; name one, or leave the option out")
    return option


def _absolute(path: AnyPath) -> Path:
    return Path(os.path.abspath(path))


def run_dir_in_tmp() -> Path:
    """The run directory of a user without a runtime directory. Every user can create it; see `check_directory`."""
    return Path(f"/tmp/rondo-{os.getuid()}")


@contextlib.contextmanager
def _umask(wanted: int | None) -> Iterator[None]:
    """While directories are made, and those above them. None: the caller's, but others never get the right to write."""
    before = os.umask(0o077)
    os.umask(before | 0o022 if wanted is None else wanted)
    try:
        yield
    finally:
        os.umask(before)


def _make_directory(path: Path, variable: str, *, private: bool) -> None:
    """Create `path`; refuse what another user owns. `private` also refuses links and access for others (as in /tmp)."""
    mode = 0o755 if os.geteuid() == 0 and not private else 0o700
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        found = path.lstat() if private else path.stat()
    except FileExistsError:
        raise PathError(f"{path}: not a directory; remove it, or set {variable}") from None
    except OSError as error:
        raise PathError(f"{path}: cannot be made: {error.strerror}; set {variable} to a directory of yours") from None
    if not stat.S_ISDIR(found.st_mode):
        raise PathError(f"{path}: not a directory but a link; remove it, or set {variable}")
    if found.st_uid not in (os.geteuid(), 0) or (private and found.st_uid != os.geteuid()):
        raise PathError(f"{path}: belongs to user {found.st_uid}; set {variable} to a directory of yours")
    forbidden = 0o077 if private else stat.S_IWOTH
    if stat.S_IMODE(found.st_mode) & forbidden:
        who = "others may enter it" if private else "everybody may write to it"
        raise PathError(f"{path}: {who}; chmod {'0700' if private else 'o-w'} {path}")
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise PathError(f"{path}: Read-only file system; mount it for writing, or set {variable} to another directory")
    if not os.access(path, os.W_OK | os.X_OK):
        raise PathError(f"{path}: not writable for you; set {variable} to a directory of yours")
