"""The web service: a node to look at. Metrics, a page, its figures as JSON, its events as they happen. Read-only.

Nobody needs it: it asks the services what they answer to everybody of this user, and if it is killed, hung or absent no
other process notices. While nobody looks it does nothing: it is in a group with the pages of the other nodes, in which
nothing is said then.

    figures.py   what the others are told of a node
    hub.py       one look for all who watch, and only while somebody does
    recent.py    the last events of all nodes
    wire.py      what the pages of a cluster tell each other in their group
    peers.py     what the others have told, who looks, and what is to be said (no I/O)
    exchange.py  the membership in that group
    guard.py     who may ask, and how: Host, Origin, token, method
    front.py     connections until their first request is there
    joined.py    head and body of an answer in one write
    limits.py    connections and requests that take too long
    app.py       what there is at which path
    server.py    the options, and uvicorn's server
    process.py   the supervised process (web{} in corosync.conf)
    openapi.json what all of it looks like, for programs
    page/        HTML, style and script of the page
"""
