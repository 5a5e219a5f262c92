import traceback
from collections.abc import Callable
from multiprocessing.pool import RemoteTraceback  # type: ignore[attr-defined]

import pytest

from heyhi.runs.failures import line_in, line_of, with_traceback

CUDA = (
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later\nCompile with X\n"
)


class DryError(Exception):
    """One that is not Python's own."""


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class LeavingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


class StrangeError(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise ValueError("no notes")


def with_notes(failure: BaseException, *notes: str) -> BaseException:
    for note in notes:
        failure.add_note(note)
    return failure


def with_cause(failure: BaseException, cause: BaseException) -> BaseException:
    failure.__cause__ = cause
    return failure


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as failure:
        return failure
    raise AssertionError("it did not fail")


def in_two_steps() -> None:
    try:
        raise KeyError("water")
    except KeyError:
        raise DryError("too dry\nfor a carrot")  # noqa: B904


REMOTE = '\n"""\nTraceback (most recent call last):\n  File "a.py", line 1, in f\nOSError: far\n"""'
INSIDE = 'worker 1 failed\nTraceback (most recent call last):\n  File "a.py", line 1, in f\nOSError: far\n'

# What was raised, with a traceback or without one -> its line.
LINES = {
    "a message of several lines": (
        RuntimeError(CUDA),
        "RuntimeError: CUDA error: device-side assert triggered",
    ),
    "no message": (MemoryError(), "MemoryError"),
    "of a module": (DryError("a: b:\nc"), "tests.runs.test_failures.DryError: a: b:"),
    "notes": (with_notes(ValueError("too dry"), "on bed 3\nand 4", "in May"), "ValueError: too dry"),
    "notes alone": (with_notes(ValueError(), "on bed 3"), "ValueError"),
    "a group": (
        ExceptionGroup("two beds\nof ten", [ValueError("a"), ExceptionGroup("b", [OSError("c")])]),
        "ExceptionGroup: two beds",
    ),
    "a group, in a line": (
        with_notes(ExceptionGroup("two beds", [ValueError("a"), OSError("b")]), "in May"),
        "ExceptionGroup: two beds (2 sub-exceptions)",
    ),
    "of a cause": (
        with_cause(DryError("too dry"), OSError("no tap")),
        "tests.runs.test_failures.DryError: too dry",
    ),
    "in another's handler": (raised(in_two_steps), "tests.runs.test_failures.DryError: too dry"),
    "of another process": (with_cause(OSError("far"), RemoteTraceback(REMOTE)), "OSError: far"),
    "a traceback in the message": (RuntimeError(INSIDE), "RuntimeError: worker 1 failed"),
    "an empty line first": (
        RuntimeError("\n\n  -- Process 0 ended:\n  it"),
        "RuntimeError: -- Process 0 ended:",
    ),
    "a text that cannot be had": (
        MuteError(),
        "tests.runs.test_failures.MuteError: <exception str() failed>",
    ),
    "a text that ends the program": (
        LeavingError(),
        "tests.runs.test_failures.LeavingError: <exception str() failed>",
    ),
    "the end of a program": (SystemExit(3), "SystemExit: 3"),
    "an assertion of several lines": (
        AssertionError("assert 1 == 2\n +  where"),
        "AssertionError: assert 1 == 2",
    ),
}


@pytest.mark.parametrize(("failure", "line"), LINES.values(), ids=LINES)
def test_the_line_of_a_failure_is_its_type_and_the_first_line_of_its_message(
    failure: BaseException, line: str
) -> None:
    assert line_of(failure) == line


@pytest.mark.parametrize(("failure", "line"), LINES.values(), ids=LINES)
def test_it_is_read_from_the_text_that_is_kept(failure: BaseException, line: str) -> None:
    assert line_in(with_traceback(line_of(failure), failure)) == line


@pytest.mark.parametrize(("failure", "line"), LINES.values(), ids=LINES)
@pytest.mark.parametrize("is_raised", [True, False])
def test_it_is_read_from_a_bare_traceback_too(failure: BaseException, line: str, is_raised: bool) -> None:
    def fail() -> None:
        raise failure

    trace = raised(fail) if is_raised else failure.with_traceback(None)
    assert line_in("".join(traceback.format_exception(trace))) == line


def test_a_mistake_in_a_program_is_told_with_its_place() -> None:
    failure = raised(lambda: compile("x x\n", "beds.py", "exec"))
    assert line_of(failure) == "SyntaxError: invalid syntax (beds.py, line 1)"
    for one in (failure, failure.with_traceback(None)):
        assert line_in("".join(traceback.format_exception(one))) == "SyntaxError: invalid syntax"


OTHERS = {
    "": "",
    "\n": "",
    "Traceback (most recent call last):\n": "",
    "Traceback:\n  in train\nValueError: too dry\n\n": "ValueError: too dry",
    "too dry\nand too hot\n": "too dry",
}


@pytest.mark.parametrize(("text", "line"), OTHERS.items())
def test_whatever_a_file_holds_has_a_line_or_none(text: str, line: str) -> None:
    assert line_in(text) == line


def test_the_line_is_cut_and_is_one_line() -> None:
    assert line_of(ValueError("x" * 1_000_000)) == f"ValueError: {'x' * 285}..."
    line = line_of(ValueError("a\x1b[31mb\x9bc\ud800"))
    assert line.isprintable()
    assert line_in(with_traceback(line, ValueError())) == line
    assert line_in("a\x1b[31mb\n").isprintable()


def test_what_cannot_be_described_is_still_told() -> None:
    failure = StrangeError("too dry")
    line = line_of(failure)
    assert line == "tests.runs.test_failures.StrangeError: too dry"
    assert line_in(with_traceback(line, failure)) == line
