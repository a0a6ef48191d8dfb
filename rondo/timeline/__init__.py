"""The time line of a node: what happened to it, under names that stay, found in the logs of its processes.

Logs have the means: they are kept over restarts, bounded (8 MB and the file before it for each process), and ordered
by time. So there is no second journal to fall out of step with them.

    kinds.py      every event: its name, the line of the log that it is, what it means
    match.py      the text of a line to its event
    events.py     lines to events
    reference.py  docs/EVENTS.md
"""
