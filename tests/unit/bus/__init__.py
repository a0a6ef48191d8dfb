"""Tests of the bus: envelopes, the ordered log, sockets."""
