"""The Totem single-ring protocol as a machine without I/O: datagrams, time and messages in, packets and events out."""
