"""C programs on Corosync's own libraries (libcpg and its sisters), unmodified: libqb's sockets and shared memory.

`wire` has the layouts of what the libraries say, `rings` the shared memory, both without I/O. Everything that a client
can write to is checked before it is used, so that what is wrong there ends that client's connection and nothing else.
"""
