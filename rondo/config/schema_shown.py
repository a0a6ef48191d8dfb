"""The options of web{} and notify{}: how a node is shown to others, and who is told what happens to it."""

from rondo.config.option import Address, Kinds, Number, Section, Word, option


class Web(Section):
    """Rondo's own section: a page of this node, its metrics and events, read-only, as a process beside the others. It
    is there where the section is, even an empty one. `rondo web` does the same in the foreground. On another address
    than loopback it has to have TLS, and a token or certificates of clients. Needs `pip install 'rondo[web]'`."""

    address: Address = option("127.0.0.1", "The address of this machine at which it listens.")
    port: Number = option(5480, "The TCP port.", ge=1, le=65535)
    names: Word = option("", "Further names by which browsers may ask for it, with spaces between them.")
    token_file: Word = option("", "File with the token that everybody who asks has to have, mode 0600.")
    tls_cert: Word = option("", "File with the certificate, and its chain (PEM). With it there is TLS.")
    tls_key: Word = option("", "File with the key of the certificate (PEM).")
    tls_clients: Word = option(
        "", "File with the certificates (PEM) of those who sign clients' certificates: only such clients are let in."
    )


class Notify(Section):
    """Rondo's own section: a command or a webhook is told what happens to the node, by a process beside the others. One
    notice follows another. One that fails, or takes too long, is tried again after 1, 4 and 16 seconds and then given
    up; 256 may wait. What is told are the events of docs/EVENTS.md."""

    command: Word = option(
        "",
        "The program that is run for each event, by its absolute path, as the node's user. The event is on its "
        "standard input, one object of JSON, and in RONDO_NODE, RONDO_KIND, RONDO_EVENT, RONDO_TIME, RONDO_LEVEL, "
        "RONDO_TEXT.",
    )
    webhook: Word = option(
        "", "The http or https address to which the same object is posted; any answer of 2xx is success.", secret=True
    )
    kinds: Kinds = option(
        ("node", "quorum", "application", "link"),
        "What is told of: node (rings, other nodes, this one), quorum, application (under SAM), link (and paths).",
    )
    timeout: Number = option(10_000, "How long one run may take.", unit="ms", ge=100, le=600_000, node="timeout_ms")
