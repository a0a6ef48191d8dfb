"""Generates the reference of all events, docs/EVENTS.md, from their declarations.

python -m rondo.timeline.reference > docs/EVENTS.md
"""

from __future__ import annotations

import re
import sys

from rondo.timeline.kinds import KINDS

HEAD = """\
# Events

<!-- Made of the declarations in rondo/timeline by `python -m rondo.timeline.reference`. Change it there. -->

`rondo events` prints what happened to a node, in the order of time; `-f` goes on with what comes, `--json` prints one
object a line:

```json
{"time": "2026-11-22T16:00:01.123+01:00", "source": "totem", "event": "ring.formed", "level": "notice",
 "detail": {"ring": "1.8", "joined": [2], "left": [3]}, "text": "A new membership (1.8) was formed. ..."}
```

Events are found in the logs of the node's processes, in `RONDO_RUN_DIR/log`: those outlive restarts of the node, and
are bounded (8 MB and the file before it for each process). Where `logging{}` sends lines elsewhere and not to standard
error, they are found in the files that it names, and not in syslog. Levels that are not logged make no events. Names of
events and of details stay; words of log lines may change.

| event | process | meaning | detail |
|---|---|---|---|
"""


def reference() -> str:
    """The whole document."""
    return HEAD + "".join(
        f"| `{kind.name}` | {kind.source} | {kind.meaning} | "
        f"{', '.join(f'`{name}`' for name in re.compile(kind.pattern).groupindex)} |\n"
        for kind in KINDS
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
