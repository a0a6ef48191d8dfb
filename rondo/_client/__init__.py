"""The client: what an application uses to talk to the gateway of its node.

`session` and what it uses know the protocol and do no I/O; `connection` is the front for threads, `rondo.aio` the one
for asyncio. Both give the same session to the same gateway.
"""
