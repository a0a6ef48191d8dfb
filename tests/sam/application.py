"""An application that is written for SAM. It says what happens to it in a file, and does what its plan says.

    python -m tests.sam.application FILE PLAN

Each instance appends `INSTANCE what ...` lines. PLAN is a Python expression of an object with what to do; see `main`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from rondo import sam


def main() -> None:
    path, plan = Path(sys.argv[1]), json.loads(sys.argv[2])
    instance = -1

    def say(*what: Any) -> None:
        with path.open("a") as file:
            file.write(" ".join(map(str, (instance, *what))) + "\n")

    def warned(number: int, _frame: FrameType | None) -> None:
        say("warned", number)

    signal.signal(plan.get("warn_signal", signal.SIGTERM), warned)
    sam.initialize(plan.get("interval_ms", 500), sam.Policy(plan.get("policy", "restart")))
    if "warn_signal" in plan:
        sam.warn_signal_set(plan["warn_signal"])
    instance = sam.register()
    data = sam.data_restore()
    say("registered", os.getpid(), data.decode() or "-", sam.data_size())
    if data:
        say("predecessor", "alive" if _is_there(int(data.split(b" ")[0])) else "gone")
    sam.data_store(f"{os.getpid()} of {instance}".encode())
    sam.start()
    say("started")
    deeds = plan["instances"]
    deed = deeds[min(instance, len(deeds) - 1)]
    for _ in range(deed.get("healthy", 10**9)):
        sam.health_check_send()
        time.sleep(plan.get("interval_ms", 500) / 1000 / 4)
    match deed["then"]:
        case "hang":
            say("hangs", time.time())
            time.sleep(1000)
        case "fail":
            say("fails")
            sam.mark_failed()
            time.sleep(1000)
        case "exit":
            sys.exit(deed.get("code", 0))
        case "finalize":
            sam.finalize()
            say("finalized")


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
