"""The client's end of a connection to another host is closed once, whoever closes it."""

import threading

import zmq

from rondo.ipc.remote_dealer import CurveKeys, RemoteDealer

ROUNDS = 200
JOIN_S = 20.0


def test_two_threads_close_it_at_once() -> None:
    server, _ = zmq.curve_keypair()
    public, secret = zmq.curve_keypair()
    for number in range(ROUNDS):
        dealer = RemoteDealer("tcp://127.0.0.1:9", CurveKeys(server, public, secret))
        meet = threading.Barrier(2)

        def close(dealer: RemoteDealer = dealer, meet: threading.Barrier = meet) -> None:
            meet.wait()
            dealer.close()

        threads = [threading.Thread(target=close, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(JOIN_S)
            assert not thread.is_alive(), f"it hangs in round {number}"
