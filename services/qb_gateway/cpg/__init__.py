"""The service `cpg`: translates libcpg's calls into requests to the node's cpg process, and its events into libcpg's.

A C program does not notice when cpg is killed: its requests are kept until they are accepted, and repeated to the next
cpg (`session`). When totem is killed it sees a change of the ring: all other nodes leave its group, and come back
(`member`).
"""
