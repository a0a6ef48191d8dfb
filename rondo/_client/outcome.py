"""`rondo.Request` for threads: the outcome of a message."""

from typing import Any

from rondo._client import batches
from rondo._client.arguments import DEFAULT, Default
from rondo._client.link import Link


class Request(batches.Request):
    """A message on its way. Once it is accepted, events and `UnknownOutcome` name it by `number`."""

    __slots__ = ()

    def accepted(self, timeout: float | Default | None = DEFAULT) -> "Request":
        """Wait until the executive has accepted it. It will then be ordered even if this process dies.

        Returns the request. Raises Timeout after `timeout` seconds, or the error with which the request failed.
        """
        return self._wait(lambda: self.is_accepted or self.is_done, timeout, "accepted")

    def ordered(self, timeout: float | Default | None = DEFAULT) -> "Request":
        """Wait until it has its place in the order (SAFE: and every member of the ring has it).

        Its event is then in the group's queue. Returns the request. Raises Timeout, or the error with which the request
        failed; Disconnected if its outcome is unknown.
        """
        return self._wait(lambda: self.is_done, timeout, "ordered")

    def cancel(self) -> bool:
        """Give this message up. True: it was not sent and never will be; its `error` is Interrupted. False: it is done,
        accepted, or under way. Its outcome shows later, but it is not sent again after a lost connection."""
        link: Link = self._batch.owner
        link.check_process()
        return link.run(self._cancel, link)

    def _cancel(self, link: Link) -> bool:
        cancelled = link.session.requests.cancel(self._batch, self._index)
        link.notify()
        return cancelled

    def _wait(self, condition: Any, timeout: float | Default | None, what: str) -> "Request":
        link: Link = self._batch.owner
        link.check_process()
        deadline_s = link.deadline_of(timeout)
        if not condition():
            link.wait_for_order(condition, deadline_s, f"request {self.number} was not {what} in time")
        if self.error is not None:
            raise self.error
        return self
