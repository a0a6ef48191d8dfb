"""What documents say is tried: their code blocks are found here, and run by the tests of this and other rooms.

blocks.py       the code blocks of a page
shell.py        pages whose blocks are typed into a shell, one after the other, as a reader does
typed.py        who types the shell blocks of the other pages
on_loopback.py  Python blocks on a cluster in one process
"""
