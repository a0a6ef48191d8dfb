"""cmap: the node's configuration and state as typed keys, which programs read, set and watch. Without I/O.

values the twelve types, and what a value of each may be names valid names, and the keys that programs cannot change
keymap the keys and their changes
"""
