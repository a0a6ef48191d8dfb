"""A complete Rondo node in a host of a lab: the ring, groups, quorum, and the gateway that clients connect to.

The services are started as they are, without supervisord: what ends by itself is a fault, and stays ended.
"""

import signal
import sys
from typing import Any

from rondo.ipc.control import ControlError, ask
from rondo.testing.lab.process import Process
from rondo.testing.lab.ring_nodes import STOP_TIMEOUT_S, View
from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY, RondoNode

# In the order in which they are stopped; totem, which is the ring node itself, comes after them.
UPPER_SERVICES = ("ipc_gateway", "control", "cpg")


class CompleteNode(RondoNode):
    """Totem and all that is above it. It is ready when clients are served in the ring that `view` names."""

    _upper: dict[str, Process]

    def _launch(self) -> Process:
        totem = super()._launch()
        options = ["-c", str(self.config_path), "--run-dir", RUN_DIRECTORY, "--nodeid", str(self.host.number)]
        more = {"control": ["--state-dir", str(self._state_directory)]}
        self._upper = {
            service: self.host.start(
                [sys.executable, "-m", f"services.{service}", *options, *more.get(service, [])],
                f"rondo-{service}",
                {"PYTHONPATH": str(REPOSITORY)},
            )
            for service in UPPER_SERVICES
        }
        return totem

    def kill(self) -> None:
        """Kill all at once, as the loss of the machine would; totem last, so that none can tell of its end."""
        self._note_unexpected_end()
        self._meant_to_run = False
        processes = [*self._upper.values(), self.process]
        for process in processes:
            process.signal(signal.SIGKILL)
        for process in processes:
            process.kill()
        super().kill()

    def stop(self) -> None:
        """Stop it as `rondo stop` does, from the clients' side down to the ring."""
        self._note_unexpected_end()
        self._meant_to_run = False
        for service, process in self._upper.items():
            status = process.terminate(STOP_TIMEOUT_S)
            if status != 0:
                self._faults.append(f"{service}: exit status {status} when it was to stop")
        super().stop()

    def _note_unexpected_end(self) -> None:
        if self._meant_to_run:
            for service, process in self._upper.items():
                if not process.alive:
                    self._meant_to_run = False
                    self._faults.append(f"{service} ended by itself, with exit status {process.exit_status}")
        super()._note_unexpected_end()

    def service_status(self, service: str) -> dict[str, Any] | None:
        """Return what a service says of itself; None while it does not answer."""
        try:
            return ask(self.host.path(RUN_DIRECTORY), service, "status")
        except ControlError:
            return None

    def view(self) -> View | None:
        """Return the ring of this node; it is ready once its groups are in step on that ring and clients are served."""
        ring = super().view()
        if ring is None or not ring.ready:
            return ring
        cpg, gateway = self.service_status("cpg"), self.service_status("ipc_gateway")
        control = self.service_status("control")
        in_step = {"representative": ring.representative, "sequence": ring.sequence, "members": list(ring.members)}
        ready = (
            cpg is not None
            and cpg["state"] == "operational"
            and cpg["ring"] == in_step
            and control is not None
            and control["ring"] == {"representative": ring.representative, "sequence": ring.sequence}
            and gateway is not None
            and gateway["state"] == "operational"
        )
        return View(ring.representative, ring.sequence, ring.members, ready)

    def log(self) -> str:
        """Return what all of them wrote so far, totem first."""
        logs = [super().log()]
        if self._process is not None:
            logs += [process.output() for process in self._upper.values()]
        return "".join(logs)
