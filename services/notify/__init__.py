"""The notify service: a command, or a webhook, is told what happens to the node. There only where corosync.conf has
notify{}.

It reads the time line, as `rondo events -f` does, and asks nobody anything: whatever becomes of it, or of a command
that hangs or fails, no other process notices.

    queue.py     what waits, what is tried again, and what is given up (no I/O)
    position.py  how far the time line has been told of, over restarts
    child.py     one run of the command
    post.py      the program that is run for a webhook
    process.py   the loop
"""
