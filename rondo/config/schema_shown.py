"""The options of web{}: how a node is shown to others."""

from rondo.config.option import Address, Number, Section, Word, option


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
