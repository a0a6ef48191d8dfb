"""What belongs to a connection says so when it is pickled, as `multiprocessing` does with what it gives to a process.

Without this the error names something inside, such as an epoll object, and not what to do.
"""

from typing import NoReturn, SupportsIndex


class Unpicklable:
    """To derive from. `pickle` and `copy` both ask `__reduce_ex__`."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied: it is of a connection, which belongs to the"
            " process that made it. Call rondo.connect() in the other process"
        )
