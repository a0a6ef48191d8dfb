"""Log lines about bounds that were reached: the first at once, then one a minute for each bound, with the number of
hits."""

import logging

from rondo.ipc.bounds import HITS_REMEMBERED_MAX

INTERVAL_S = 60.0

WHAT = {
    "connections_refused": "has too many connections; no more are taken",
    "silent_refused": "has too many connections that say nothing; no more are taken",
    "silent_ended": "had connections that said nothing for three seconds; they were ended",
    "half_frames_held": "has half-sent envelopes that take too much memory; the others of that user wait",
    "half_frames_ended": "had connections that stood still in half an envelope while others waited; they were ended",
    "unread_ended": "does not read what it is sent; connections were ended",
    "sam_replies_dropped": "does not read SAM's answers; some were dropped",
    "control_replies_dropped": "does not read control's answers; some were dropped",
    "remote_refused": "is one client too many over TCP; it was not taken",
    "remote_displaced": "has many connections that have not shown a key; the oldest were ended",
    "remote_handshake_ended": "had connections that showed no key in time; they were ended",
}

log = logging.getLogger("IPC_GATEWAY")


class HitLog:
    """By bound and user: what was logged, and what waits to be logged."""

    def __init__(self) -> None:
        self._said_s: dict[tuple[str, str], float] = {}
        self._unsaid: dict[tuple[str, str], int] = {}

    def note(self, hits: dict[tuple[str, str], int], now_s: float) -> None:
        """Call once a second. `hits` are those since the last call, by (bound, who)."""
        for key, count in hits.items():
            if key in self._unsaid or len(self._unsaid) < HITS_REMEMBERED_MAX:
                self._unsaid[key] = self._unsaid.get(key, 0) + count
        for key, said_s in list(self._said_s.items()):
            if now_s >= said_s + INTERVAL_S:
                del self._said_s[key]
        for key in [key for key in self._unsaid if key not in self._said_s]:
            bound, who = key
            count = self._unsaid.pop(key)
            log.warning("%s %s (%s, %d times)", who, WHAT.get(bound, "has reached a bound"), bound, count)
            self._said_s[key] = now_s
