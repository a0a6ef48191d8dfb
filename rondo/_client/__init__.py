"""The client library: how an application talks to the gateway of its node.

`session` and the modules that it uses implement the protocol without I/O. `connection` is the API for threads,
`rondo.aio` the API for asyncio. Both drive the same session code and talk to the same gateway.
"""
