"""`rondo report`: all that a bug report of a node, or of all, needs, in one archive, and no secret.

contents.py   what goes in of this node
secrets.py    what must not, and how it is taken out
all_nodes.py  the other nodes as well, and what could not be had
others.py     their reports, made by themselves and fetched by a command, as ssh
told.py       what their pages tell, where there is no report
archive.py    the file
"""
