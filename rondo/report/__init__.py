"""`rondo report`: all that a bug report needs, of one node or of all, in one archive without secrets.

contents.py   what the archive has of this node
secrets.py    what it must not have, and how that is cut out
all_nodes.py  the archive of all nodes, and a list of what is missing
others.py     the reports of other nodes, fetched by a command such as ssh
told.py       what the pages of nodes tell, for nodes without a report
archive.py    the archive's file
"""
