"""One way to encode any decoded frame, for the tests that do not care which it is."""

from __future__ import annotations

from services.totem.wire import frames
from services.totem.wire.frames import Commit, Frame, HoldCancel, Join, Mcast, Merge, Token


def encode_frame(frame: Frame) -> bytes:
    """The datagram of a decoded frame. An mcast must be one that its sender originated, as all on the wire are."""
    match frame:
        case Token():
            return frames.encode_token(frame)
        case Mcast():
            if frame.sender != frame.origin:
                raise ValueError(f"an mcast of {frame.origin} with {frame.sender} in its header")
            return frames.encode_mcast(
                frame.sender, frame.seq, frame.this_seqno, frame.ring, frame.payload,
                encapsulated=frame.encapsulated, node_id=frame.node_id, guarantee=frame.guarantee,
            )  # fmt: skip
        case Join():
            return frames.encode_join(frame)
        case Commit():
            return frames.encode_commit(frame)
        case Merge():
            return frames.encode_merge(frame)
        case HoldCancel():
            return frames.encode_hold_cancel(frame)
