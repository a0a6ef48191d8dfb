"""Root's rights are given up whole and for good, or the command ends."""

import json
import os
import pwd
import subprocess
import sys

import pytest

from rondo.cli.output import CommandError
from rondo.node.become import become

USER = "nobody"
BECOME = """
import json, os, sys
from rondo.node.become import become
os.setgroups([0, 4242])
become(sys.argv[1])
try:
    os.setresuid(0, 0, 0)
    is_root_again = True
except PermissionError:
    is_root_again = False
names = ("HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR")
environment = {name: os.environ.get(name) for name in names}
print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), is_root_again, environment]))
"""


@pytest.mark.root
def test_who_becomes_a_user_is_root_in_nothing() -> None:
    user = pwd.getpwnam(USER)
    environment = os.environ | {"HOME": "/root", "XDG_RUNTIME_DIR": "/run/user/0"}
    done = subprocess.run(
        [sys.executable, "-c", BECOME, USER], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    users, groups, others, is_root_again, variables = json.loads(done.stdout)
    assert (users, groups) == ([user.pw_uid] * 3, [user.pw_gid] * 3)
    assert not {0, 4242} & set(others)
    assert not is_root_again
    assert variables == {"HOME": user.pw_dir, "USER": USER, "LOGNAME": USER, "XDG_RUNTIME_DIR": None}


def test_a_user_that_does_not_exist_is_named() -> None:
    with pytest.raises(CommandError, match="there is no user no-such-user; make it"):
        become("no-such-user")


def test_only_root_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CommandError, match="only root may start a node as user nobody"):
        become(USER)


@pytest.mark.root
def test_root_without_the_right_to_do_so_stays_what_it_is() -> None:
    powerless = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"]
    script = f"from rondo.node.become import become; become({USER!r})"
    done = subprocess.run([*powerless, sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "CommandError: cannot become user nobody: Operation not permitted; root needs CAP_SETUID" in done.stderr
