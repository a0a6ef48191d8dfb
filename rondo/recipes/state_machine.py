"""`StateMachine` to derive from, classes with `@replicated` methods, and what all recipes for threads have."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from rondo.recipes.arguments import bytes_of, cluster_of, function_of, instance_of, name_of
from rondo.recipes.desk import TIMEOUT_S
from rondo.recipes.machines import pack, unpack
from rondo.recipes.runner import Runner
from rondo.recipes.store import Store

if TYPE_CHECKING:
    from rondo import Cluster, Member

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Recipe:
    """What all recipes have in common. Use it in a `with` statement, or close it."""

    PREFIX: ClassVar[str] = ""
    """Of the group's name, so that different recipes of one name do not meet."""

    _runner: Runner

    @property
    def name(self) -> str:
        """The name of the process group."""
        return self._runner.desk.name

    @property
    def is_ready(self) -> bool:
        """True if this process has the state of the group, and the group goes on."""
        return self._runner.desk.is_ready

    @property
    def state(self) -> str:
        """`ready`, or why it is not."""
        return "ready" if self.is_ready else self._runner.desk.why_not_ready

    def close(self) -> None:
        """Leave the group. This process gives up all that it holds there."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<rondo.recipes.{type(self).__name__} {self.name!r}: {self.state}>"


class StateMachine(Recipe, ABC):
    """A state that you define, kept equal in all processes of a group. Derive from it:

        class Bank(StateMachine):
            def __init__(self, cluster, name):
                self.balance = 0                      # the state before the first command; then:
                super().__init__(cluster, name)
            def apply(self, command): ...             # change the state; the same everywhere, so: no clock, no chance
            def snapshot(self): ...                   # the state in pieces
            def restore(self, pieces): ...            # set the state to that of the pieces

        bank.do(b"deposit 10")                        # returns what `apply` returned

    All four are called in a thread of the recipe, never two at once.
    """

    PREFIX = "state:"

    def __init__(
        self, cluster: Cluster, name: str, *, nodes_min: int = 1, timeout: float = TIMEOUT_S, store: Store | None = None
    ) -> None:
        """Join the group. Returns when this process has the state. Raises NoQuorum, Timeout, StoreError.

        `store`: where to keep the state on disk. All processes of a group keep it on disk, or none. `nodes_min`: a
        group in which nobody has a state begins with processes on so many nodes.
        """
        cluster_of(cluster)
        if store is not None:
            instance_of(store, Store, "store")
        self._runner = Runner(cluster, self.PREFIX + name_of(name), Adapter(self), self, timeout, nodes_min, store)

    @abstractmethod
    def apply(self, command: bytes) -> bytes:
        """Carry out a command."""

    @abstractmethod
    def snapshot(self) -> Iterable[bytes]:
        """The present state, in pieces. A generator must not show later changes."""

    @abstractmethod
    def restore(self, pieces: Iterable[bytes]) -> None:
        """Set the state to that of the snapshot."""

    def do(self, command: bytes, timeout: float | None = None) -> bytes:
        """Have a command carried out once on every replica. Returns what `apply` returned for it.

        Raises NoQuorum at once if this side of the cluster has none, Refused if `apply` raises, and Timeout. After a
        Timeout the command may be carried out or not.
        """
        return self._runner.do(bytes_of(command, "command"), timeout)

    def read(self, look: Callable[[], T], timeout: float | None = None) -> T:
        """What `look()` returns once all commands that were done before this call are applied (linearizable)."""
        return self._runner.read(function_of(look, "look"), timeout)

    def local(self, look: Callable[[], T]) -> T:
        """What `look()` returns at once. It may lack the latest commands. Without quorum it may show commands that
        are undone later."""
        return self._runner.local(function_of(look, "look"))

    def progress(self, pieces: int, bytes_come: int) -> None:
        """Called while the state is being received."""

    def lost_commands(self, commands: list[bytes]) -> None:
        """Called when this process's history was thrown away for another one, with the commands that one lacks."""

    def merge(self, command: bytes) -> bytes | None:
        """Called for each lost command. Returns the command for the history that goes on, or None for nothing. Each is
        done once, even if several processes return it."""
        return None

    def state_changed(self, state: str) -> None:
        """Called with `ready`, or why it is not."""

    def members_changed(self, members: tuple[Member, ...]) -> None:
        """Called with the processes of the group whenever they change."""


class Adapter:
    """The interface by which the core uses the application's state."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine

    def apply(self, author: bytes, command: bytes) -> bytes:
        """A command."""
        result: bytes = self._machine.apply(command)
        return result if result is not None else b""

    def went_on(self, ring_sequence: int) -> None:
        """Nothing to do: the state does not depend on rings."""

    def gone(self, author: bytes) -> None:
        """Nothing to do: the state does not depend on processes."""

    def snapshot(self) -> Iterable[bytes]:
        """The state, in pieces."""
        pieces: Iterable[bytes] = self._machine.snapshot()
        return pieces

    def restore(self, pieces: Iterator[bytes]) -> None:
        """Set the state to that of the pieces."""
        self._machine.restore(pieces)


def replicated(method: F) -> F:
    """A method of a `Replicated` that is carried out on all replicas. The caller gets the result.

    msgpack must be able to hold the arguments and the result.
    """

    @functools.wraps(method)
    def call(self: Replicated, *arguments: Any, **keywords: Any) -> Any:
        return unpack(self.do(pack([method.__name__, arguments, keywords])))

    call.__replicated__ = method  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


class ReplicatedState:
    """The state of an object with `@replicated` methods: all attributes that do not begin with an underscore."""

    PREFIX = "object:"

    def apply(self, command: bytes) -> bytes:
        """Call the method."""
        name, arguments, keywords = unpack(command)
        method = getattr(getattr(type(self), name, None), "__replicated__", None)
        if method is None:
            raise ValueError(f"no replicated method {name!r}: another version of this class is in the group")
        return pack(method(self, *arguments, **keywords))

    def snapshot(self) -> Iterable[bytes]:
        """All public attributes."""
        return [pack({name: value for name, value in vars(self).items() if not name.startswith("_")})]

    def restore(self, pieces: Iterable[bytes]) -> None:
        """Set them."""
        vars(self).update(unpack(b"".join(pieces)))


class Replicated(ReplicatedState, StateMachine):
    """An object whose `@replicated` methods change it everywhere. Its state is all attributes that do not begin with
    an underscore, and they must be what msgpack can hold: set them before `super().__init__`."""
