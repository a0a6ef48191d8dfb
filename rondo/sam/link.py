"""Requests to SAM through the node's gateway (docs/PROTOCOL-CLIENT.md, "SAM").

Every request is idempotent.
"""

from typing import Any

from rondo._client.ask_link import TIMEOUT_S, AskLink
from rondo.protocol.client_gateway import Kind
from rondo.protocol.sam_gateway import REQUEST_BYTES_MAX, Op, encode_request


class SamLink(AskLink):
    """A connection to the node's SAM."""

    request_kind = Kind.SAM_REQUEST
    reply_kind = Kind.SAM_REPLY
    request_bytes_max = REQUEST_BYTES_MAX

    def ask(self, op: Op, arguments: dict[str, Any] | None = None, timeout: float | None = TIMEOUT_S) -> Any:
        """Send a request and wait for the answer, at most `timeout` seconds (None: for ever). Raises rondo.Error."""
        return self.send(encode_request(op, arguments or {}), timeout)
