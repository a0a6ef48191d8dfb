"""Keeps secrets out of an archive, in two ways.

Files that hold secrets are not read for it: key files, SAM's table with the environments of applications, and their
output. And known secrets are cut out of all that is put in: the cluster's keys, the token and the TLS key of web{} (as
they are, in hexadecimal and in base64), the webhook of notify{}, the values of secret options, private keys in PEM,
passwords in addresses, and what follows words like `password`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from rondo.config import NodeConfig

LEFT_OUT = "[left out]"
_FILE_BYTES_MAX = 64 * 1024
SECRET_BYTES_MIN = 8
"""What is shorter is no secret, and would be found everywhere."""

_TOKEN = re.compile(rb"[A-Za-z0-9+/=_-]{32,}")
"""A key that is written as text."""

_OPTION = re.compile(rb"^(\s*(?:key|webhook|\S*secret\S*|\S*passw\S*)\s*:\s*).+$", re.IGNORECASE | re.MULTILINE)
"""A line of corosync.conf."""
_WORDS = re.compile(
    rb"((?:passw(?:or)?d|passphrase|secret|api_?key|bearer|authorization: *basic)\"?\s*[=:]?\s*\"?)[^\s\"',;&]+",
    re.IGNORECASE,
)
_USERINFO = re.compile(rb"(://[^/\s:@]*:)[^/\s@]+(?=@)")
"""The password in an address."""
_PEM = re.compile(rb"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END |\Z)", re.DOTALL)


class Secrets:
    """The secrets of one node."""

    def __init__(self, values: Iterable[bytes]) -> None:
        forms: set[bytes] = set()
        for value in values:
            stripped = value.strip()
            for each in (value, stripped):
                forms |= {each, each.hex().encode(), each.hex().upper().encode(), base64.b64encode(each)}
                forms |= {base64.urlsafe_b64encode(each), repr(each)[2:-1].encode()}
        kept = sorted((each for each in forms if len(each) >= SECRET_BYTES_MIN), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, kept))) if kept else None

    def cut(self, data: bytes) -> bytes:
        """The text without secrets."""
        mark = LEFT_OUT.encode()
        if self._pattern is not None:
            data = self._pattern.sub(mark, data)
        for pattern in (_PEM, _USERINFO, _WORDS):
            data = pattern.sub(rb"\1" + mark, data)
        return data


def secrets_of(config: NodeConfig | None) -> Secrets:
    """The secrets of a node: its keys, and those of its page. They are read only in order to find them in other
    texts."""
    values = []
    if config is not None:
        if config.security.key:
            values.append(config.security.key)
        values += _of_webhook(config.notify.webhook)
        paths = [config.security.key_file, config.remote.key_file if config.remote.enabled else ""]
        paths += [config.web.token_file, config.web.tls_key]
        paths += [str(path) for path in _stored_keys(config)]
        for path in filter(None, paths):
            try:
                with open(path, "rb") as file:
                    content = file.read(_FILE_BYTES_MAX)
            except OSError:
                continue
            values += [content, *_tokens(content)]
    return Secrets(values)


def _of_webhook(address: str) -> list[bytes]:
    """Whoever knows the address of a webhook may often post to it: all of it, and what follows the host."""
    parts = urlsplit(address)
    wanted = (address, parts.password or "", parts.path, parts.query)
    return [each.encode(errors="backslashreplace") for each in wanted if each]


def _tokens(content: bytes) -> list[bytes]:
    """Keys that stand as text in a file, as they stand there and as what they mean."""
    found = []
    for token in _TOKEN.findall(content):
        found.append(token)
        for decode in (binascii.unhexlify, base64.b64decode):
            try:
                found.append(decode(token))
            except binascii.Error:
                continue
    return found


def _stored_keys(config: NodeConfig) -> list[Path]:
    """Keys that were installed while the node ran."""
    return sorted(Path(config.state_dir).glob("*key*")) if config.state_dir else []


def without_options(text: bytes) -> bytes:
    """A configuration without the values of its secret options."""
    return _OPTION.sub(rb"\1" + LEFT_OUT.encode(), text)
