"""`StateMachine` and `Replicated` to derive from, for asyncio, and what all recipes for asyncio have."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar

from rondo.recipes.aio_runner import Runner
from rondo.recipes.arguments import bytes_of, cluster_of, function_of, instance_of, name_of
from rondo.recipes.desk import TIMEOUT_S
from rondo.recipes.machines import pack, unpack
from rondo.recipes.state_machine import Adapter, ReplicatedState
from rondo.recipes.store import Store

if TYPE_CHECKING:
    from rondo import Member
    from rondo.aio import Cluster

T = TypeVar("T")
P = ParamSpec("P")


class Recipe:
    """What all recipes have in common. Use `async with`, or `await` it and close it."""

    PREFIX: ClassVar[str] = ""
    _runner: Runner

    @property
    def name(self) -> str:
        """The name of the process group."""
        return self._runner.group_name

    @property
    def is_ready(self) -> bool:
        """True if this process has the state of the group, and the group goes on."""
        return self._runner.desk.is_ready

    @property
    def state(self) -> str:
        """`ready`, or why it is not."""
        return "ready" if self.is_ready else self._runner.desk.why_not_ready

    async def _start(self) -> Self:
        await self._runner.start()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._start().__await__()

    async def __aenter__(self) -> Any:
        return await self._start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the group. This process gives up all that it holds there."""
        await self._runner.close()


class StateMachine(Recipe, ABC):
    """See `rondo.recipes.StateMachine`. `apply`, `snapshot` and `restore` are no coroutines: they are called in the
    loop, and must not take long."""

    PREFIX = "state:"

    def __init__(
        self, cluster: Cluster, name: str, *, nodes_min: int = 1, timeout: float = TIMEOUT_S, store: Store | None = None
    ) -> None:
        cluster_of(cluster, is_aio=True)
        if store is not None:
            instance_of(store, Store, "store")
        self._runner = Runner(cluster, self.PREFIX + name_of(name), Adapter(self), self, timeout, nodes_min, store)

    @abstractmethod
    def apply(self, command: bytes) -> bytes:
        """Carry out a command."""

    @abstractmethod
    def snapshot(self) -> Iterable[bytes]:
        """The state as it is now, in pieces."""

    @abstractmethod
    def restore(self, pieces: Iterable[bytes]) -> None:
        """Set the state to that of the snapshot."""

    async def do(self, command: bytes, timeout: float | None = None) -> bytes:
        """Have a command carried out once on every replica. Returns what `apply` returned for it."""
        return await self._runner.do(bytes_of(command, "command"), timeout)

    async def read(self, look: Callable[[], T], timeout: float | None = None) -> T:
        """What `look()` returns once all earlier commands are applied (linearizable)."""
        return await self._runner.read(function_of(look, "look"), timeout)

    def local(self, look: Callable[[], T]) -> T:
        """What `look()` returns at once; see `rondo.recipes.StateMachine.local`."""
        return function_of(look, "look")()

    def progress(self, pieces: int, bytes_come: int) -> None:
        """Called while the state is being received."""

    def lost_commands(self, commands: list[bytes]) -> None:
        """Called when this process's history was thrown away for another one, with the commands that one lacks."""

    def merge(self, command: bytes) -> bytes | None:
        """Called for each lost command. Returns the command for the history that goes on, or None for nothing."""
        return None

    def state_changed(self, state: str) -> None:
        """Called with `ready`, or why it is not."""

    def members_changed(self, members: tuple[Member, ...]) -> None:
        """Called with the processes of the group whenever they change."""


def replicated(method: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A method of a `Replicated` that is carried out on all replicas. It is no coroutine; calling it gives one, and
    that the result.

    msgpack must be able to hold the arguments and the result.
    """

    @functools.wraps(method)
    async def call(self: Replicated, *arguments: Any, **keywords: Any) -> Any:
        return unpack(await self.do(pack([method.__name__, arguments, keywords])))

    call.__replicated__ = method  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


class Replicated(ReplicatedState, StateMachine):
    """See `rondo.recipes.Replicated`, with which it shares its group: an object whose `@replicated` methods change it
    everywhere."""
