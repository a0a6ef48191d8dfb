"""The script for bash. It does not need the package bash-completion."""

from collections.abc import Iterable

from rondo.cli.completion import walk
from rondo.cli.tree import Command, Kind

TEMPLATE = """\
# Completion of rondo(1) for bash. Made by: rondo completion bash
_rondo() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} place=rondo number=0 index word wanted=
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${{COMP_WORDS[index]}}
        if [[ -n $wanted ]]; then
            wanted=
            continue
        fi
        case "$place $word" in
            *" --")
                mapfile -t COMPREPLY < <(compgen -c -f -- "$current")
                return
                ;;
            {with_value})
                wanted="$place $word"
                ;;
            {places})
                place="$place $word"
                number=0
                ;;
            *" -"*) ;;
            *) number=$((number + 1)) ;;
        esac
    done
    case "${{wanted:-$place $number}}" in
{values}
    esac
    if [[ -n $wanted ]]; then
        return
    fi
    case "$place" in
{words}
    esac
}}
complete -F _rondo rondo
"""
OFFER = """\
        {patterns})
            {offer}
            ;;"""
NAMES = 'mapfile -t -O "${{#COMPREPLY[@]}}" COMPREPLY < <(compgen -W "{}" -- "$current")'
FILES = 'compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen {} -- "$current")'


def script(whole: Command) -> str:
    """For `source`, or a file `rondo` in bash-completion's directory."""
    offers = []
    for patterns, argument in walk.values(whole, Kind.CHOICE):
        offers.append(OFFER.format(patterns=_cases(patterns), offer=NAMES.format(" ".join(argument.choices))))
    for kind, option in ((Kind.FILE, "-f"), (Kind.DIRECTORY, "-d")):
        found = [pattern for patterns, _ in walk.values(whole, kind) for pattern in patterns]
        offers.append(OFFER.format(patterns=_cases(found), offer=FILES.format(option)))
    words = [
        OFFER.format(
            patterns=_cases([walk.place(command)]),
            offer=NAMES.format(" ".join(name for name, _ in walk.words(command))),
        )
        for command in whole.all()
    ]
    return TEMPLATE.format(
        with_value=_cases(walk.with_value(whole)),
        places=_cases(walk.places(whole)),
        values="\n".join(offers),
        words="\n".join(words),
    )


def _cases(patterns: Iterable[str]) -> str:
    return " | ".join(f'"{pattern}"' for pattern in patterns)
