"""Posts one event to a webhook: `{"url": ..., "body": ...}` on standard input. Exit code 0 if it was taken (2xx).

A program of its own, so that a server that answers nothing, or without end, costs a process that can be killed.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 30.0
"""Of one step; the service ends it sooner."""
INPUT_BYTES_MAX = 1 << 20


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What was meant for one server is not handed on to another."""

    def redirect_request(self, *_arguments: object) -> None:
        """Follow none."""


def main() -> int:
    """Post it."""
    given = json.loads(sys.stdin.read(INPUT_BYTES_MAX))
    request = urllib.request.Request(
        given["url"], data=given["body"].encode(), headers={"Content-Type": "application/json", "User-Agent": "rondo"}
    )
    try:
        with urllib.request.build_opener(_NoRedirects()).open(request, timeout=TIMEOUT_S):
            return 0
    except urllib.error.HTTPError as error:
        print(f"notify: the webhook answered {error.code}", file=sys.stderr)
        error.close()
    except OSError as error:
        print(f"notify: the webhook cannot be reached: {getattr(error, 'reason', error)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
