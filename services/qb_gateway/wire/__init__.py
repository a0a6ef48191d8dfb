"""The layouts of libqb's connections and of libcpg's messages (Corosync 3.1, libqb 2). No I/O.

All numbers are little-endian 32-bit words padded to 8 bytes unless told otherwise. Padding holds garbage in both
directions and is skipped.
"""
