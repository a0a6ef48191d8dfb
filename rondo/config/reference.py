"""Generates the reference of all options, docs/CONFIGURATION.md, from their declarations.

python -m rondo.config.reference > docs/CONFIGURATION.md
"""

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from rondo.config import option, unsupported
from rondo.config.schema_node import Config

HEAD = """\
# Configuration

<!-- Made of the declarations in rondo/config by `python -m rondo.config.reference`. Change it there. -->

Rondo reads Corosync's `corosync.conf`: `/etc/corosync/corosync.conf`, or the file that `-c` or
`COROSYNC_MAIN_CONFIG_FILE` names. `rondo config check` says what is wrong with it, with file and line;
`rondo config show` shows what is in force. Without any file a single node runs on loopback, with a key of its own.
Examples are in `config/`.

```conf
# A comment has a line of its own.
totem {
    version: 2
    cluster_name: example
    transport: udpu
}
nodelist {
    node {
        name: alpha
        nodeid: 1
        ring0_addr: 192.168.1.1
    }
}
```

A key given twice counts with its last value. A section given twice is one section, except those that may be
repeated. An unknown key has no effect and is warned of, as is every value that counts for nothing with the rest of the
file (of a second ring, of another transport); a wrong value that counts keeps the node from starting (exit code 8 of
the services). A timer or window of 0 is the default, as in Corosync. A relative path lies beside the file. Files in the
directory `uidgid.d` beside the configuration may hold further `uidgid` sections.

**Which node is this?** The one named by `--nodeid` or `totem.nodeid`; else the one whose `name` or `ring0_addr` is
`$HOSTNAME`, then the one that is its short form, then the one whose short form that is; else the one with an address of
this machine.

**Beside C Corosync 3.1 nodes** with `transport: knet` take their file as it is, and their key; if it says nothing of
encryption, write `crypto_cipher: none`, because Rondo encrypts where C does not. With `udpu` (or `udp`) write a
`nodelist` with every node and its `nodeid`, and `secauth: off`. Leave `netmtu` and the timers as they are.
"""

TAIL_HEAD = """\
## What Corosync has and Rondo has not

These are read, have no effect, and are warned of:
"""


def reference() -> str:
    """The whole document."""
    parts = [HEAD, *_sections(Config, ""), TAIL_HEAD]
    parts.append("\n".join(_not_supported()) + "\n")
    return "\n".join(parts)


def _sections(model: type[option.Section], name: str) -> Iterator[str]:
    """A chapter for each section, with sub-sections right after theirs."""
    for key, field in model.model_fields.items():
        kind = option.subsection(field)
        if kind is None:
            continue
        path = f"{name}.{key}" if name else key
        repeated = " (may be repeated)" if option.repeats(field) else ""
        yield f"## {path}{repeated}\n\n{inspect.cleandoc(kind.__doc__ or '')}\n"
        rows = [
            _row(option_key, option_field)
            for option_key, option_field in kind.model_fields.items()
            if not option.subsection(option_field) and not option.extra(option_field, "ignored")
        ]
        if rows:
            yield "| option | accepts | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
        yield from _sections(kind, path)


def _row(key: str, field: FieldInfo) -> str:
    meaning = field.description or ""
    if refused := option.extra(field, "refused"):
        meaning += " Refused: " + ", ".join(f"`{value}`" for value in refused) + "."
    return f"| `{key}` | {option.accepts(field)} | {_default(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if derived := option.extra(field, "derived"):
        return str(derived)
    value: Any = field.default
    if isinstance(value, bool):
        value = "yes" if value else "no"
    return f"`{value}`" if value not in (None, "", ()) else "none"


def _not_supported() -> Iterator[str]:
    yield "| what | why |\n|---|---|"
    for name, reason in unsupported.SECTIONS.items():
        yield f"| `{name} {{}}` | {reason} |"
    for pattern, reason in unsupported.KEYS:
        yield f"| `{pattern.shown}` | {reason} |"
    yield from _ignored(Config, "")
    yield ""
    for name, (reason, mend) in unsupported.REFUSED_SECTIONS.items():
        yield f"`{name} {{}}` is an error. {reason}; {mend}."


def _ignored(model: type[option.Section], name: str) -> Iterator[str]:
    for key, field in model.model_fields.items():
        path = f"{name}.{key}" if name else key
        if ignored := option.extra(field, "ignored"):
            yield f"| `{path}` | {ignored} |"
        if kind := option.subsection(field):
            yield from _ignored(kind, path)


if __name__ == "__main__":
    sys.stdout.write(reference())
