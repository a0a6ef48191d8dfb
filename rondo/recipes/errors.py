"""What recipes raise besides the errors of `rondo`."""

from __future__ import annotations

from rondo import FailedOperation


class Refused(FailedOperation):
    """The command was carried out, and `apply` or the operation has raised. The text is the same on all replicas."""


class StoreError(FailedOperation):
    """The disk of a state cannot be used: which file, why, and how to mend it. This process is out of the group."""
