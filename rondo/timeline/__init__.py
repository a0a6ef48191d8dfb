"""The time line of a node: its events under stable names, found in the logs of its processes.

Logs are suitable for that: they survive restarts, are bounded (8 MB and the file before it for each process), and are
ordered by time. A second journal could disagree with them.

    kinds.py      every event: its name, its log line, its meaning
    match.py      from the text of a line to its event
    events.py     from lines to events
    reference.py  docs/EVENTS.md
"""
