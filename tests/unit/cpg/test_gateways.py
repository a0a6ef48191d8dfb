"""Two gateways at one cpg: each hears of its own sessions only, and neither holds up the other."""

from rondo.protocol import cpg_gateway as bus
from rondo.protocol.cpg_gateway import GatewayKind
from services.cpg.gateways import Gateways, kinds_of

C_SESSION = 1 << bus.KIND_SHIFT | 7


def heard(gateways: Gateways) -> list[tuple[bytes, bus.Envelope]]:
    return [(identity, bus.decode(frame)) for identity, frame in gateways.frames]


def two() -> Gateways:
    gateways = Gateways()
    gateways.arrive(GatewayKind.CLIENTS, b"one")
    gateways.arrive(GatewayKind.C_PROGRAMS, b"two")
    return gateways


def test_rows_go_to_the_gateway_that_has_the_session() -> None:
    gateways = two()
    gateways.tell_rows([[7, 1], [C_SESSION, 2], [8, 3]], lambda own: bus.Settled(5, own))
    assert heard(gateways) == [
        (b"one", bus.Settled(5, [[7, 1], [8, 3]])),
        (b"two", bus.Settled(5, [[C_SESSION, 2]])),
    ]
    assert kinds_of([7, C_SESSION]) == {0, 1}


def test_a_successor_is_told_nothing_that_was_meant_for_its_predecessor() -> None:
    gateways = two()
    for kind in GatewayKind:
        gateways.tell(kind, bus.Reopen(5, [1]))
    gateways.arrive(GatewayKind.C_PROGRAMS, b"three")
    assert [identity for identity, _ in gateways.frames] == [b"one"]
    assert gateways.kind_of(b"two") is None
    assert gateways.kind_of(b"three") == GatewayKind.C_PROGRAMS


def test_a_gateway_without_room_keeps_its_order_and_does_not_hold_up_the_other() -> None:
    gateways = two()
    for number in (1, 2):
        for kind in GatewayKind:
            gateways.tell(kind, bus.Reopen(number, []))
    sent: list[tuple[bytes, int, bool]] = []

    def send(identity: bytes, frame: bytes, more: bool) -> bool:
        if identity == b"one" and not has_room:
            return False
        sent.append((identity, bus.decode(frame).epoch, more))
        return True

    has_room = False
    assert gateways.send(send)
    assert sent == [(b"two", 1, True), (b"two", 2, False)]
    has_room = True
    assert not gateways.send(send)
    assert sent[2:] == [(b"one", 1, True), (b"one", 2, False)]
