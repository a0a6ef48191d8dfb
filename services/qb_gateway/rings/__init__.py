"""Rings of chunks in memory that is shared with a client, which may be broken or hostile. No I/O.

A ring has one writer and one reader. Its header has the indices of both. A chunk is a length, a mark, and the bytes
padded to a word. Indices count words and wrap around. A semaphore in the header counts the complete chunks: no chunk is
read before the semaphore is taken.

Each side here keeps its own index and never reads it back. What the other side writes is checked before each use.
"""
