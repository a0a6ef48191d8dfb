"""C programs on Corosync's own libraries (libcpg and its sisters), unmodified: libqb's sockets and shared memory.

`wire` has the layouts of the libraries' messages, `rings` the shared memory, both without I/O. Everything that a client
can write to is checked before it is used, so that a fault in it ends that client's connection and nothing else.
"""
