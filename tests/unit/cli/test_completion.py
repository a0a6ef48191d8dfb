"""Completion, asked in the shells themselves."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rondo.cli import completion
from rondo.cli.completion import walk
from rondo.cli.tree import tree

BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
"$(complete -p rondo | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
printf '%s\\n' "${COMPREPLY[@]}"
"""
# zsh completes only inside its line editor: here its words are set, and what it would show is printed.
ZSH = """
compdef() { : }
_describe() { print -rl -- ${${(P)@[-1]}%%:*} }
compadd() { shift; print -rl -- "$@" }
_files() { print -r -- "files $*" }
_normal() { print -rl -- "command" $words }
file=$1; shift
source $file
words=("$@"); CURRENT=$#
_rondo
"""
FISH = "source $argv[1]; complete -C \"$argv[2]\" | string replace -r '\\t.*' ''"


def asked(shell: str, directory: Path, *words: str, cwd: Path | None = None) -> list[str]:
    """The completions that the shell offers for the last word."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    file = directory / f"rondo.{shell}"
    file.write_text(completion.script(shell), encoding="utf-8")
    commands = {
        "bash": ["bash", "--norc", "-c", BASH, "bash", str(file), "rondo", *words],
        "zsh": ["zsh", "-f", "-c", ZSH, "zsh", str(file), "rondo", *words],
        "fish": ["fish", "--no-config", "-c", FISH, str(file), " ".join(["rondo", *words])],
    }
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(directory), "TERM": "dumb"}
    done = subprocess.run(
        commands[shell], capture_output=True, text=True, check=False, cwd=cwd or directory, env=environment, timeout=60
    )
    assert done.stderr == "", done.stderr
    found = [line for line in done.stdout.splitlines() if line]
    return [line for line in found if line.startswith(words[-1])] if shell == "zsh" else found


POLICIES = ["restart", "quit", "quorum-restart", "quorum-quit"]


@pytest.mark.parametrize("shell", sorted(completion.SHELLS))
def test_commands_options_and_choices_are_offered(shell: str, tmp_path: Path) -> None:
    assert asked(shell, tmp_path, "st") == ["start", "status", "stop"]
    assert asked(shell, tmp_path, "sam", "st") == ["status", "stop"]
    assert asked(shell, tmp_path, "sam", "run", "--in") == ["--interval-ms"]
    assert asked(shell, tmp_path, "sam", "run", "--policy", "") == POLICIES or shell == "fish"
    assert set(asked(shell, tmp_path, "cpg", "join", "--guarantee", "")) == {"agreed", "safe"}
    assert asked(shell, tmp_path, "debug", "ipc") == ["ipc_gateway"]


@pytest.mark.parametrize("shell", sorted(completion.SHELLS))
def test_the_value_of_an_option_is_no_command(shell: str, tmp_path: Path) -> None:
    # "groups" is the value of --socket: what follows completes `rondo cpg`, whose command it would be.
    assert asked(shell, tmp_path, "quorum", "--socket", "watch", "exp") == ["expected"]
    assert asked(shell, tmp_path, "start", "--nodeid", "") == []


@pytest.mark.parametrize("shell", sorted(completion.SHELLS))
def test_the_type_of_a_key_is_offered_in_its_place_alone(shell: str, tmp_path: Path) -> None:
    assert asked(shell, tmp_path, "cmap", "set", "u") == []
    assert asked(shell, tmp_path, "cmap", "set", "quorum.x", "u3") == ["u32"]
    assert asked(shell, tmp_path, "cmap", "set", "quorum.x", "u32", "u") == []


def test_bash_and_fish_offer_files_and_programs(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "a directory").mkdir(parents=True)
    (place / "a file.conf").write_text("")
    assert sorted(asked("bash", tmp_path, "start", "-c", "a", cwd=place)) == ["a directory", "a file.conf"]
    assert asked("bash", tmp_path, "start", "--run-dir", "a", cwd=place) == ["a directory"]
    assert "env" in asked("bash", tmp_path, "sam", "run", "--", "en", cwd=place)
    if shutil.which("fish"):
        (place / "other.conf").write_text("")
        assert asked("fish", tmp_path, "start", "-c", "oth", cwd=place) == ["other.conf"]
        assert "env" in asked("fish", tmp_path, "sam", "run", "--", "en", cwd=place)


def test_zsh_offers_files_and_programs(tmp_path: Path) -> None:
    assert asked("zsh", tmp_path, "start", "-c", "f") == ["files "]
    assert asked("zsh", tmp_path, "start", "--run-dir", "f") == ["files -/"]
    assert asked("zsh", tmp_path, "sam", "run", "--", "command") == ["command", "command"]


def test_bash_offers_everything_that_there_is(tmp_path: Path) -> None:
    for command in tree().all():
        expected = {name for name, _ in walk.words(command)}
        assert set(asked("bash", tmp_path, *command.words[1:], "")) >= expected, command.words


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_every_option_is_in_the_script(shell: str) -> None:
    script = completion.script(shell)
    for command in tree().all():
        for option in command.options:
            if shell == "fish":
                lines = [line for line in script.splitlines() if f"'__rondo_at {walk.place(command)}'" in line]
                assert any(re.search(rf" -[ls] {option.names[-1].lstrip('-')} ", line) for line in lines), option
            else:
                offered = re.search(rf'^ +"{walk.place(command)}"\)\n +offered=\((.*)\)$', script, re.MULTILINE)
                assert offered is not None
                assert f"'{option.names[-1]}:" in offered[1]
