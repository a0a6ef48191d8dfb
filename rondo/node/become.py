"""Give up root's rights for those of another user, for good."""

import os
import pwd

from rondo.cli.output import CommandError

OF_ROOT = ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME")
"""Variables that lead into directories of the user who typed the command."""


def become(name: str) -> None:
    """Be this user from now on, with its groups and its home directory. Raises CommandError, and has changed nothing
    then."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise CommandError(f"there is no user {name}; make it (useradd --system {name}), or name another") from None
    if os.geteuid() != 0:
        raise CommandError(f"only root may start a node as user {name}; without --user it runs as you")
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except OSError as error:
        raise CommandError(
            f"cannot become user {name}: {error.strerror}; root needs CAP_SETUID and CAP_SETGID for it"
        ) from None
    for each in OF_ROOT:
        os.environ.pop(each, None)
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
