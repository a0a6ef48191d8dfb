"""The bytes between nodes: Corosync 3.1's layouts, both ways, and nothing else.

Decoders never trust their input: whatever is wrong with it is a `Malformed` with a reason that can be counted.
All integers are little-endian. One module per layer:

    frames    the six totemsrp messages: token, mcast, merge detect, join, commit token, hold cancel
    packets   the totempg packet inside an mcast: a list of pieces of application messages, and the group header
    syncmsg   the sync engine's BARRIER and SERVICE_BUILD
    executive the header of executive messages
"""
