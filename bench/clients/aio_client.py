"""The measuring application on a Rondo node, over asyncio: python -m bench.clients.aio_client RUN_DIR GROUP"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import rondo
import rondo.aio
from bench.clients.rondo_client import CONNECT_TIMEOUT_S, DELIVERY_TIMEOUT_S, LARGE, ON_ITS_WAY_BYTES_MAX
from rondo.cli.commands.bench import SENT_BETWEEN_CLOCKS, WARM_UP_MESSAGES
from rondo.paths import client_socket

LINE_BYTES_MAX = 1 << 16


class Client:
    """A member of one group."""

    def __init__(self, cluster: rondo.aio.Cluster, group: rondo.aio.Group) -> None:
        self._group = group
        self._me = rondo.Member(cluster.node_id, cluster.pid)
        self._own = 0
        """Own messages that came back in this run."""

    async def own_message(self) -> None:
        """Wait for the next message of its own."""
        while True:
            event = await self._group.poll(DELIVERY_TIMEOUT_S)
            if event is None or isinstance(event, rondo.Disconnected | rondo.UnknownOutcome):
                raise SystemExit(f"disturbed while measuring: {event}")
            if type(event) is rondo.Message and event.sender == self._me:
                self._own += 1
                return

    async def throughput(self, size: int, seconds: float, start_s: float) -> dict[str, Any]:
        """Send in one task, count own deliveries in this one."""
        self._own = 0
        await asyncio.sleep(max(0.0, start_s - time.monotonic()))
        began_s = time.monotonic()
        sender = asyncio.create_task(self._send(size, start_s + seconds))
        group, me = self._group, self._me
        while not (sender.done() and self._own >= sender.result()):
            event = await group.poll(DELIVERY_TIMEOUT_S)
            if type(event) is not rondo.Message:
                if event is None or isinstance(event, rondo.Disconnected | rondo.UnknownOutcome):
                    raise SystemExit(f"disturbed while measuring: {event}")
                continue
            if event.sender == me:
                self._own += 1
        return {"messages": self._own, "seconds": time.monotonic() - began_s}

    async def _send(self, size: int, stop_s: float) -> int:
        group, data = self._group, bytes(size)
        between_clocks = SENT_BETWEEN_CLOCKS if size < LARGE else 1
        sent = 0
        while time.monotonic() < stop_s:
            if (sent - self._own) * size <= ON_ITS_WAY_BYTES_MAX:
                for _ in range(between_clocks):
                    await group.mcast(data)
                sent += between_clocks
            # What is to be had is had in this same thread.
            await asyncio.sleep(0)
        await group.mcast(data)
        return sent + 1

    async def latency(self, size: int, count: int, gap_ms: float) -> dict[str, Any]:
        """From the call of mcast to having the message."""
        data = bytes(size)
        times_us = []
        for i in range(count + WARM_UP_MESSAGES):
            began_ns = time.monotonic_ns()
            await self._group.mcast(data)
            await self.own_message()
            if i >= WARM_UP_MESSAGES:
                times_us.append((time.monotonic_ns() - began_ns) / 1000)
            if gap_ms:
                await asyncio.sleep(gap_ms / 1000)
        return {"times_us": sorted(times_us)}

    async def obey(self, words: list[str]) -> dict[str, Any]:
        """Carry out one command."""
        match words:
            case ["throughput", size, seconds, start]:
                return await self.throughput(int(size), float(seconds), float(start))
            case ["latency", size, count, gap_ms]:
                return await self.latency(int(size), int(count), float(gap_ms))
        raise SystemExit(f"this client does not know the command {words}")


async def main(run_dir: str, group_name: str) -> None:
    commands = asyncio.StreamReader(LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with rondo.aio.connect(client_socket(None, run_dir), timeout=CONNECT_TIMEOUT_S) as cluster:
        client = Client(cluster, await cluster.cpg.join(group_name, timeout=CONNECT_TIMEOUT_S))
        print(json.dumps({"ready": True}), flush=True)
        while (words := (await commands.readline()).decode().split()) not in ([], ["quit"]):
            print(json.dumps(await client.obey(words)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
