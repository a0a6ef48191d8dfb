"""Requests on their way: numbered, sent in batches, sent again after a broken connection, and resolved.

A request is *queued* here until SETTLED says that it was *accepted*. Up to then it is kept, because a new connection
must repeat it. The window that the gateway grants bounds what is kept: this is the flow control that a sender feels. A
message is *ordered* once it comes back as an event. The event that a join or leave causes resolves it; a query is
resolved by its reply.

Consecutive messages to one group that have not been sent yet share a `Batch`, which travels and comes back as one. All
work here is per batch, except for the payload itself and for the `Request` that tells the application the outcome.

A message can be given up: it was cancelled, its deadline is over, or the groups were told `Disconnected`. One that was
never sent is removed. One that was sent keeps its number, because numbers have no gaps; it is not sent again, and a
query takes its place.

An exception of a signal handler may end any of this half-way. The batches themselves, in the order in which they wait,
are the truth. `mend` derives everything else from them.
"""

from collections import deque
from collections.abc import Collection
from typing import Any

from rondo._client.batches import ORDERED, REQUEST_BYTES, Batch, Request, RequestFactory
from rondo.errors import Disconnected, Error, Interrupted, Timeout, TryAgain
from rondo.protocol.envelope import ENVELOPE_BYTES_TARGET
from rondo.protocol.requests import BATCH_PAYLOAD_BYTES_MAX, REQUESTS_PER_BLOB_MAX, Op, encode_requests

BATCH_PAYLOAD_BYTES = 192 * 1024
"""A batch is closed once it has this much."""
BATCH_MESSAGES_MAX = 4096

BULK_BYTES = 256 * 1024
"""With more than this sent and not settled, a sender is at full speed. What it queues then waits for more, ..."""
BULK_SEND_BYTES = 128 * 1024
"""... up to this much, or until something is settled. Larger batches cost less at every hop. There is no timer: the
settling of requests sets the pace (Nagle, RFC 896)."""


class Requests:
    """All requests of one session that are not resolved or not settled yet."""

    def __init__(self, factory: RequestFactory, owner: Any = None) -> None:
        self.window_bytes = 0
        self.window_requests = 0
        self.unresolved: dict[int, Batch] = {}
        """By their first number."""
        self.unsent: deque[Batch] = deque()
        self.unsettled: deque[Batch] = deque()
        """Batches that were sent. They are sent again if the connection breaks."""
        self.set_aside: list[Batch] = []
        """Queries that got no answer because totem died. They are asked again in the next epoch."""
        self.bytes_kept = 0
        """Bytes of the window in use: unsent and unsettled."""
        self.bytes_unsent = 0
        self.count_kept = 0
        self.last_number = 0
        self.settled_number = 0
        self.next_deadline_s: float | None = None
        """The time.monotonic() at which `expire` has to be called."""
        self._ordered_number = 0
        self._factory = factory
        self._owner = owner

    def add(self, op: int, arguments: tuple[Any, ...], group: str | None = None) -> Request:
        """Queue a request other than a message; it goes out with the next `blobs`."""
        batch = Batch(self._owner, self.last_number + 1, op, arguments, group, False)
        self._add_batch(batch)
        return self._factory(batch, 0)

    def add_first(self, op: int, arguments: tuple[Any, ...], group: str) -> None:
        """As `add`, but before all requests that were never sent. Those get other numbers."""
        behind: list[Batch] = []
        while self.unsent and not self.unsent[-1].was_sent:
            behind.append(self.unsent.pop())
            del self.unresolved[behind[-1].first]
            self.last_number -= behind[-1].count
        self.add(op, arguments, group)
        while behind:
            self._append_as_last(behind.pop())

    def _append_as_last(self, batch: Batch) -> None:
        """Queue a batch under the next numbers. It counts as kept already."""
        batch.first = self.last_number + 1
        batch.is_open = False
        self.last_number += batch.count
        self.unresolved[batch.first] = batch
        self.unsent.append(batch)

    def _add_batch(self, batch: Batch) -> None:
        self.unsent.append(batch)
        self.unresolved[batch.first] = batch
        self.last_number = batch.last
        self.bytes_kept += batch.size
        self.bytes_unsent += batch.size
        self.count_kept += 1

    def add_message(
        self, group: str, wire_name: bytes, guarantee: int, data: bytes, deadline_s: float | None = None
    ) -> Request | None:
        """Queue a message. None if the window has no room for it; a message alone in the window has room whatever its
        size."""
        size = len(data)
        cost = size + REQUEST_BYTES
        kept = self.count_kept
        if kept >= self.window_requests or (kept and self.bytes_kept + cost > self.window_bytes):
            return None
        last = self.unsent[-1] if self.unsent else None
        # Compared by identity, for speed: members of an Enum, and times of which no two are equal.
        if (
            last is not None and last.is_open and last.group == group and last.arguments[1] is guarantee
            and last.deadline_s is deadline_s
        ):  # fmt: skip
            index = last.count
            if size <= BATCH_PAYLOAD_BYTES_MAX and index < BATCH_MESSAGES_MAX:
                last.payloads.append(data)
                last.count = index + 1
                last.payload_bytes += size
                if last.payload_bytes >= BATCH_PAYLOAD_BYTES:
                    last.is_open = False
                self.last_number += 1
                self.bytes_kept += cost
                self.bytes_unsent += cost
                self.count_kept = kept + 1
                return self._factory(last, index)
        small = size <= BATCH_PAYLOAD_BYTES_MAX
        batch = Batch(self._owner, self.last_number + 1, Op.MCAST, (wire_name, guarantee), group, small)
        batch.payloads.append(data)
        batch.payload_bytes = size
        batch.deadline_s = deadline_s
        self._add_batch(batch)
        if deadline_s is not None and (self.next_deadline_s is None or deadline_s < self.next_deadline_s):
            self.next_deadline_s = deadline_s
        return self._factory(batch, 0)

    def failed_message(self, group: str, error: Error) -> Request:
        """A message that `add_message` would return, failed from the start."""
        batch = Batch(self._owner, 0, Op.MCAST, (), group, False)
        batch.fail(error)
        return self._factory(batch, 0)

    @property
    def is_due(self) -> bool:
        """True if something should be sent now."""
        unsent = self.bytes_unsent
        return unsent >= BULK_SEND_BYTES or (unsent > 0 and self.bytes_kept - unsent <= BULK_BYTES)

    def blobs(self, held: Collection[str] = ()) -> list[tuple[int, int, bytes]]:
        """First number, last number and blob of all requests that this connection has not carried yet, up to the first
        message to one of the groups in `held`."""
        blobs = []
        requests: list[list[Any]] = []
        first = last = size = 0
        unsent, unsettled = self.unsent, self.unsettled
        while unsent:
            batch = unsent[0]
            batch.is_open = False
            if held and batch.op == Op.MCAST and batch.group in held and not batch.was_sent:
                break
            batch.was_sent = True
            unsettled.append(batch)
            unsent.popleft()
            count = batch.last - first + 1
            if requests and (size + batch.payload_bytes > ENVELOPE_BYTES_TARGET or count > REQUESTS_PER_BLOB_MAX):
                blobs.append((first, last, encode_requests(requests)))
                requests, size = [], 0
            if not requests:
                first = batch.first
            last = batch.last
            requests += batch.encode()
            size += batch.payload_bytes + REQUEST_BYTES
        if requests:
            blobs.append((first, last, encode_requests(requests)))
        self.bytes_unsent = sum(batch.size for batch in unsent) if unsent else 0
        return blobs

    def settled(self, number: int) -> None:
        """Every request up to `number` was accepted or answered."""
        self.settled_number = max(self.settled_number, number)
        unsettled = self.unsettled
        while unsettled and unsettled[0].last <= number:
            batch = unsettled[0]
            batch.is_accepted = True
            self.bytes_kept -= batch.size
            self.count_kept -= batch.count
            unsettled.popleft()
            batch.payloads = []

    def find(self, number: int) -> Batch | None:
        """The batch of this request, unless it is resolved."""
        batch = self.unresolved.get(number)
        if batch is None:
            batch = next((b for b in self.unresolved.values() if b.first <= number <= b.last), None)
        return batch

    def resolve(self, number: int, error: Error | None = None, result: Any = None) -> Batch | None:
        """Resolve a request, and those before it in its batch: it was ordered, answered or refused."""
        batch = self.find(number)
        if batch is not None:
            done = number - batch.first + 1
            if error is not None:
                if batch.errors is None:
                    batch.errors = {}
                batch.errors[done - 1] = error
            batch.result = result
            batch.done = max(batch.done, done)
            if batch.done == batch.count:
                del self.unresolved[batch.first]
        return batch

    def resolve_messages(self, first: int, last: int) -> None:
        """This session's messages `first` to `last` came back in the order.

        Messages come back in the order of their numbers. If an earlier one was settled and did not come back, it was
        refused, and the reply that said so was lost with a killed process.
        """
        if first > self._ordered_number + 1 and self.unresolved:
            lost = [b for b in self.unresolved.values() if b.last < first and b.is_accepted and b.is_ordered]
            for batch in lost:
                self.fail(batch, TryAgain(f"request {batch.first} was refused, and had no effect"))
        whole = self.unresolved.get(first)
        if whole is not None and whole.last == last:
            whole.done = whole.count
            whole.is_accepted = True
            del self.unresolved[first]
        else:
            self.resolve(last)
        self._ordered_number = last

    def fail(self, batch: Batch, error: Error) -> None:
        """Fail all requests of an unresolved batch that are not done."""
        batch.fail(error)
        del self.unresolved[batch.first]

    def refused_for_now(self, number: int) -> None:
        """The request had no effect, because totem died first. The session repeats joins and leaves itself in the next
        epoch."""
        batch = self.find(number)
        if batch is None or batch.op in ORDERED:
            self.resolve(number, Disconnected(f"totem died before request {number} was accepted"))
        else:
            del self.unresolved[batch.first]
            self.set_aside.append(batch)

    def fail_all(self, error: Error) -> None:
        """The session has ended: fail everything."""
        for batch in (*self.unresolved.values(), *self.unsettled, *self.unsent, *self.set_aside):
            batch.fail(error)
        self.unresolved.clear()
        self.take_queued()

    def repeat(self, taken: int) -> None:
        """A new connection to the same session: send again what was not settled, in the same order.

        The executive recognises requests up to `taken` by their number and accepts them once. Queries are answered
        again.
        """
        self.unsent.extendleft(reversed(self.unsettled))
        self.unsettled.clear()
        self.bytes_unsent = self.bytes_kept
        for batch in self.unsent:
            if batch.last > taken:
                break
            batch.is_accepted = True

    def take_queued(self) -> list[Batch]:
        """Remove the requests that are neither resolved nor accepted, so that they can be queued under other
        numbers."""
        queued = self.set_aside
        queued += [b for b in (*self.unsettled, *self.unsent) if self.unresolved.pop(b.first, None) is not None]
        self.set_aside = []
        self.unsettled.clear()
        self.unsent.clear()
        self.bytes_kept = self.bytes_unsent = self.count_kept = 0
        return queued

    def renumber(self, queued: list[Batch], last_number: int) -> None:
        """Number from `last_number` on: first the requests queued since `take_queued`, then the removed ones."""
        self.settled_number = self.last_number = self._ordered_number = last_number
        again = [*self.unsent, *queued]
        self.unsent.clear()
        self.unresolved.clear()
        self.bytes_kept = self.bytes_unsent = sum(batch.size for batch in again)
        self.count_kept = sum(batch.count for batch in again)
        for batch in again:
            self._append_as_last(batch)
            batch.was_sent = False

    # -- what is given up ----------------------------------------------------------------------------------------

    def give_up_messages(self, reason: str) -> None:
        """Send no waiting message any more. Joins and leaves stay, because the session repeats them itself. Queries
        stay, because they change nothing."""
        for batch in (*self.unsettled, *self.unsent):
            if batch.op != Op.MCAST:
                continue
            if batch.done < batch.count:
                batch.fail(Disconnected(f"the connection was lost before request {batch.first} was accepted: {reason}"))
                self.unresolved.pop(batch.first, None)
            batch.drop()
        self._take_out_dropped()

    def take_out(self, op: int, group: str) -> bool:
        """Remove a request of this kind that was never sent. False if there is none."""
        batch = next((b for b in self.unsent if b.op == op and b.group == group and not b.was_sent), None)
        if batch is None:
            return False
        batch.fail(Interrupted("it was withdrawn before it was sent"))
        batch.drop()
        self.unresolved.pop(batch.first, None)
        self._take_out_dropped()
        return True

    def cancel(self, batch: Batch, index: int) -> bool:
        """Give up one message. True if it was never sent and never will be; False if it is done or under way."""
        if index < batch.done or (batch.errors is not None and index in batch.errors):
            return False
        if batch.is_accepted:
            return False
        was_sent = batch.was_sent
        self._give_up(batch, [index], Interrupted(f"request {batch.first + index} was cancelled"))
        return not was_sent

    def _give_up(self, batch: Batch, indexes: list[int], error: Error) -> None:
        batch.is_open = False
        errors = dict(batch.errors or {})
        errors.update(dict.fromkeys(indexes, error))
        batch.errors = errors
        batch.dropped = {*(batch.dropped or ()), *indexes}
        if len(errors) == batch.count:
            batch.done = batch.count
            self.unresolved.pop(batch.first, None)
        self._take_out_dropped()

    def expire(self, now_s: float) -> bool:
        """Give up messages that were not sent before their deadline. True if there were any."""
        expired, later = False, []
        for batch in list(self.unsent):
            if batch.deadline_s is None or batch.was_sent:
                continue
            if batch.deadline_s <= now_s:
                left = [i for i in range(batch.count) if batch.errors is None or i not in batch.errors]
                self._give_up(batch, left, Timeout("its deadline passed before it could be sent"))
                expired = True
            else:
                later.append(batch.deadline_s)
        self.next_deadline_s = min(later, default=None)
        return expired

    def _take_out_dropped(self) -> None:
        """Remove batches that were given up entirely and never sent: they need no numbers."""
        self.unsent = deque(
            b for b in self.unsent if b.was_sent or b.dropped is None or len(b.dropped) < b.count
        )  # fmt: skip
        self.mend()

    def mend(self) -> None:
        """Derive everything from the batches as they wait. May be repeated at any time."""
        if self.unsettled and self.unsent and self.unsettled[-1] is self.unsent[0]:
            self.unsent.popleft()
        while self.unsettled and self.unsettled[0].last <= self.settled_number:
            self.unsettled[0].is_accepted = True
            self.unsettled.popleft()
        number = self.settled_number
        kept = [*self.unsettled, *self.unsent]
        for batch in kept:
            if batch.payloads:
                batch.count = len(batch.payloads)
                batch.payload_bytes = sum(map(len, batch.payloads))
            batch.is_open = batch.is_open and batch is kept[-1] and not batch.was_sent
            if not batch.was_sent and batch.first != number + 1:
                if self.unresolved.get(batch.first) is batch:
                    del self.unresolved[batch.first]
                batch.first = number + 1
            if batch.done < batch.count:
                self.unresolved[batch.first] = batch
            number = batch.last
        self.last_number = number
        self.bytes_unsent = sum(batch.size for batch in self.unsent)
        self.bytes_kept = self.bytes_unsent + sum(batch.size for batch in self.unsettled)
        self.count_kept = sum(batch.count for batch in kept)
