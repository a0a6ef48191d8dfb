"""The kinds of envelopes between the services: the first element of each. No number is used twice."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """First element of an envelope of the bus."""

    # totem and cpg (rondo.protocol.totem_reader)
    HELLO = 1
    WELCOME = 2
    LOG = 3
    KEPT = 4
    TAKEN = 5
    SUBMIT = 6
    SYNC_REPLY = 7
    ACK = 8
    AGAIN = 9

    # cpg and the gateway (rondo.protocol.cpg_gateway)
    GATEWAY_HELLO = 16
    CPG_WELCOME = 17
    OPEN = 18
    OPENED = 19
    CLOSE = 20
    REQUEST = 21
    SETTLED = 22
    REPLY = 23
    EVENTS = 24
    EVENT_ACK = 25
    NOTICE = 26
    LOST = 27
    REOPEN = 28

    # the gateway and sam (rondo.protocol.sam_gateway)
    SAM_ASK = 48
    SAM_ANSWER = 49

    # totem and control (rondo.protocol.totem_control)
    CONTROL_HELLO = 64
    CONTROL_WELCOME = 65
    CONTROL_LOG = 66
    COMMIT = 67
    COMMITTED = 68
    EVICT = 69
    CONTROL_AGAIN = 70

    # the gateway and control (rondo.protocol.control_gateway)
    CONTROL_ASK = 80
    CONTROL_ANSWER = 81
    CONTROL_FORGET = 82
