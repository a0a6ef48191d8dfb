"""The style checker finds what breaks a rule, and nothing else."""

import pytest

from tests.style.rules import FILE_LINES_MAX, TEST_FILE_LINES_MAX, faults_of


def texts(source: str, path: str = "services/x.py") -> list[str]:
    return [fault.text for fault in faults_of(source, path)]


def test_a_long_file_is_found_and_tests_may_be_longer() -> None:
    source = "x = 1\n" * (FILE_LINES_MAX + 1)
    assert len(texts(source)) == 1
    assert texts(source, "tests/x.py") == []
    assert len(texts("x = 1\n" * (TEST_FILE_LINES_MAX + 1), "tests/x.py")) == 1


def test_a_long_function_is_found() -> None:
    body = "    pass\n"
    assert texts("def f():\n" + body * 59) == []
    assert "f has 61 lines" in texts("def f():\n" + body * 60)[0]
    assert "g has 61 lines" in texts("async def g():\n" + body * 60)[0]


@pytest.mark.parametrize(
    "source",
    [
        "from rondo import ring\nring._state\n",
        "from rondo import ring\nring._state = 1\n",
        "from rondo.ring import _state\n",
        "def f(node):\n    return node.machine._credit\n",
    ],
)
def test_a_reach_into_another_module_is_found(source: str) -> None:
    assert len(texts(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def __init__(self):\n        self._x = 1\n    def same(self, other):\n        return other._x\n",
        "class A(B):\n    def f(self):\n        return self._theirs + super()._theirs()\n",
        "import os\nos._exit(1)\n",
        "from rondo import __version__, _compiled\n",
        "point._replace(x=1)\n",
    ],
)
def test_what_is_ones_own_or_documented_is_no_fault(source: str) -> None:
    assert texts(source) == []


def test_a_constant_of_a_compiled_module_is_final() -> None:
    loose = "SIZE = 1\n_A, _B = 2, 3\n"
    assert len(texts(loose, "services/totem/ring/token.py")) == 3
    assert texts(loose, "services/totem/daemon.py") == []
    fine = "SIZE: Final = 1\nCUT: int = 2\nName = int\nlog = 3\ndef f():\n    X = 1\n"
    assert texts(fine, "services/totem/ring/token.py") == []
