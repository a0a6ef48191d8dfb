"""`rondo report`: all that a bug report of one node needs, in one archive, and no secret.

contents.py   what goes in
secrets.py    what must not, and how it is taken out
archive.py    the file
"""
