"""A SAM that is not root starts nothing that it could not be itself."""

import os
from typing import Any

import pytest

from rondo.protocol.codes import Code
from rondo.protocol.sam_gateway import Op
from services.sam.application import Owner
from services.sam.requests import Asker, Requests

OWN = Owner(1000, 1000, (24, 1000))


class NoManager:
    """Whatever is asked of it would be too much."""

    applications: dict[str, Any] = {}  # noqa: RUF012


@pytest.fixture
def requests() -> Requests:
    return Requests(NoManager(), OWN)  # type: ignore[arg-type]


def answer(requests: Requests, op: int, owner: Owner, arguments: dict[str, Any]) -> tuple[Code, Any]:
    answers: list[tuple[Code, Any]] = []
    requests.ask(op, Asker(os.getpid(), 1, owner), arguments, lambda code, result: answers.append((code, result)))
    (said,) = answers
    return said


RUN = {"key": b"k", "program": b"sh", "arguments": [b"sh"], "directory": b"/", "environment": [], "umask": 0}
REGISTER = {"policy": "quit", "interval_ms": 0, "signal": 15}


@pytest.mark.parametrize(
    "owner",
    [
        Owner(0, 0, ()),
        Owner(1001, 1000, OWN.groups),
        Owner(1000, 1001, OWN.groups),
        Owner(1000, 1000, (24, 27, 1000)),
        Owner(1000, 1000, ()),
    ],
)
@pytest.mark.parametrize(("op", "arguments"), [(Op.RUN, RUN), (Op.REGISTER, REGISTER)])
def test_where_sam_cannot_switch_access_is_denied(
    requests: Requests, op: Op, arguments: dict[str, Any], owner: Owner
) -> None:
    code, text = answer(requests, op, owner, arguments)
    assert code == Code.ACCESS
    assert "runs as user 1000" in text


def test_an_own_group_need_not_be_among_the_groups(requests: Requests) -> None:
    with pytest.raises(AttributeError):  # it got past the question of rights, to the manager
        answer(requests, Op.RUN, Owner(1000, 1000, (24,)), RUN)


@pytest.mark.parametrize(
    ("op", "arguments", "code"),
    [
        (99, {}, Code.NOT_SUPPORTED),
        (Op.RUN, {}, Code.INVALID_PARAM),
        (Op.RUN, RUN | {"arguments": [b"a\0b"]}, Code.INVALID_PARAM),
        (Op.RUN, RUN | {"arguments": []}, Code.INVALID_PARAM),
        (Op.RUN, RUN | {"arguments": ["text"]}, Code.INVALID_PARAM),
        (Op.RUN, RUN | {"program": b""}, Code.INVALID_PARAM),
        (Op.RUN, RUN | {"directory": b"\0"}, Code.INVALID_PARAM),
        (Op.RUN, RUN | {"environment": [b"A=" + bytes(0) + b"x" * (1024 * 1024)]}, Code.TOO_BIG),
        (Op.RUN, RUN | {"umask": True}, Code.INVALID_PARAM),
        (Op.STOP, {"id": 5}, Code.INVALID_PARAM),
        (Op.STOP, {"id": "nobody-1"}, Code.NOT_EXIST),
        (Op.LOGS, {"id": "../x"}, Code.NOT_EXIST),
        (Op.REGISTER, REGISTER | {"interval_ms": -1}, Code.INVALID_PARAM),
        (Op.REGISTER, REGISTER | {"interval_ms": 1e3}, Code.INVALID_PARAM),
        (Op.REGISTER, REGISTER | {"signal": 65}, Code.INVALID_PARAM),
        (Op.REGISTER, REGISTER | {"policy": "quorum"}, Code.INVALID_PARAM),
        (Op.STORE, {"data": b"x"}, Code.BAD_HANDLE),
        (Op.MARK_FAILED, {}, Code.BAD_HANDLE),
    ],
)
def test_bad_requests_are_refused(requests: Requests, op: int, arguments: dict[str, Any], code: Code) -> None:
    said, text = answer(requests, op, OWN, arguments)
    assert said == code, text
    assert text
    assert "\n" not in text
