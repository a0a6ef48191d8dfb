"""The options of web{} and notify{}: the web page of a node, and notifications of its events."""

from rondo.config.option import Address, Kinds, Number, Section, Word, option


class Web(Section):
    """Rondo's own section: a web page of this node with its metrics and events, read-only, served by a separate
    process. An empty section is enough to start it. `rondo web` does the same in the foreground. On any address but
    loopback it needs TLS, and a token or client certificates. Needs `pip install 'rondo[web]'`."""

    address: Address = option("127.0.0.1", "The address of this machine at which the page is served.")
    port: Number = option(5480, "The TCP port.", ge=1, le=65535)
    names: Word = option("", "Further host names under which browsers may request it, separated by spaces.")
    token_file: Word = option("", "File with the token that every request must have, mode 0600.")
    tls_cert: Word = option("", "File with the certificate and its chain (PEM). It switches TLS on.")
    tls_key: Word = option("", "File with the key of the certificate (PEM).")
    tls_clients: Word = option(
        "",
        "File with the CA certificates (PEM) for clients: only clients with a certificate signed by one of them "
        "are admitted.",
    )


class Notify(Section):
    """Rondo's own section: a separate process tells a command or a webhook what happens to the node. Notices are sent
    one after another. One that fails or takes too long is repeated after 1, 4 and 16 seconds, and then given up; up to
    256 may wait. The notices are the events of docs/EVENTS.md."""

    command: Word = option(
        "",
        "The program that is run for each event, by its absolute path, as the node's user. Its standard input has the "
        "event as a JSON object; RONDO_NODE, RONDO_KIND, RONDO_EVENT, RONDO_TIME, RONDO_LEVEL and RONDO_TEXT have it, "
        "too.",
    )
    webhook: Word = option(
        "", "The http or https address to which the same object is posted; any answer of 2xx is success.", secret=True
    )
    kinds: Kinds = option(
        ("node", "quorum", "application", "link"),
        "The kinds of events: node (rings, other nodes, this one), quorum, application (under SAM), link (and paths).",
    )
    timeout: Number = option(
        10_000, "The longest time of one run or request.", unit="ms", ge=100, le=600_000, node="timeout_ms"
    )
