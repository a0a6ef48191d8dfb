"""A member of a process group under SAM: it counts, tells its peers, and goes on from what its last instance stored."""

import time

import rondo
from rondo import sam


def main() -> None:
    sam.initialize(interval_ms=60_000, policy=sam.Policy.RESTART)
    instance = sam.register()
    count = int(sam.data_restore() or b"0")
    with rondo.connect(timeout=60.0) as cluster:
        group = cluster.cpg.join("counters")
        sam.health_check_callback(lambda: True)
        sam.start()
        while True:
            count += 1
            sam.data_store(str(count).encode())
            group.mcast(f"{instance} {count}".encode()).ordered(60.0)
            while group.poll(timeout=0) is not None:
                pass
            time.sleep(0.02)


if __name__ == "__main__":
    main()
