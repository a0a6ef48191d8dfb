"""How envelopes travel between the processes of a node: Router and Dealer, and the control sockets.

`local` speaks ZMTP (`zmtp`) in the calling thread, on the sockets of this machine. `remote` makes libzmq's sockets, for
TCP and CURVE. `control` asks a service for its state.
"""
