"""The script for zsh, with a line of help beside each word."""

from collections.abc import Iterable

from rondo.cli.completion import walk
from rondo.cli.tree import Command, Kind

TEMPLATE = """\
#compdef rondo
# Completion of rondo(1) for zsh. Made by: rondo completion zsh
_rondo() {{
    local place=rondo word wanted=
    local -i number=0 index
    local -a offered
    for ((index = 2; index < CURRENT; index++)); do
        word=${{words[index]}}
        if [[ -n $wanted ]]; then
            wanted=
            continue
        fi
        case "$place $word" in
            *" --")
                shift $index words
                CURRENT=$((CURRENT - index))
                _normal
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
    _describe -o rondo offered
}}
if [[ $funcstack[1] == _rondo ]]; then
    _rondo "$@"
else
    compdef _rondo rondo
fi
"""
OFFER = """\
        {patterns})
            {offer}
            ;;"""


def script(whole: Command) -> str:
    """For a file `_rondo` in a directory of $fpath, or for `source` after compinit."""
    offers = []
    for patterns, argument in walk.values(whole, Kind.CHOICE):
        choices = " ".join(_quoted(choice) for choice in argument.choices)
        offers.append(OFFER.format(patterns=_cases(patterns), offer=f"compadd -- {choices}"))
    for kind, lookup in ((Kind.FILE, "_files"), (Kind.DIRECTORY, "_files -/")):
        found = [pattern for patterns, _ in walk.values(whole, kind) for pattern in patterns]
        offers.append(OFFER.format(patterns=_cases(found), offer=lookup))
    words = []
    for command in whole.all():
        entries = " ".join(_quoted(f"{name}:{help_text}") for name, help_text in walk.words(command))
        words.append(OFFER.format(patterns=_cases([walk.place(command)]), offer=f"offered=({entries})"))
    return TEMPLATE.format(
        with_value=_cases(walk.with_value(whole)),
        places=_cases(walk.places(whole)),
        values="\n".join(offers),
        words="\n".join(words),
    )


def _cases(patterns: Iterable[str]) -> str:
    return " | ".join(f'"{pattern}"' for pattern in patterns)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
