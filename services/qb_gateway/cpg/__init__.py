"""The service `cpg`: libcpg's calls become requests to the node's cpg process, and its events become libcpg's.

A C program notices nothing when cpg is killed: its requests are kept until they are accepted and repeated to the next
cpg (`session`). When totem is killed it sees a change of the ring: all other nodes leave its group, and come back
(`member`).
"""
