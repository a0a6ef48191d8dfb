"""The wire format between nodes: encodes and decodes Corosync 3.1's layouts, and does nothing else.

Decoders never trust their input. Bad input raises `Malformed` with a reason that can be counted. All integers are
little-endian. One module per layer:

    frames    the six totemsrp messages: token, mcast, merge detect, join, commit token, hold cancel
    packets   the totempg packet inside an mcast: a list of pieces of application messages, and the group header
    syncmsg   the sync engine's BARRIER and SERVICE_BUILD
    executive the header of executive messages
"""
