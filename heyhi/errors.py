"""Everything that can go wrong on purpose. Only `cli` and `commands` catch these.

    HeyhiError                 exit status 1
    ├── UsageError             2  the command line asks for something that cannot be
    ├── ProjectError           2  the project's folder, schemas or generated modules
    ├── ConfigError            2  a config, an include or an override (also a ValueError)
    ├── RefusedError           2  it could be done, but would lose or repeat work
    └── LaunchError            1  the request is right, the machine cannot carry it out
        └── NoAnswerError      1  Slurm does not answer: the same may work later
            └── QueueFullError 1  as many jobs wait as may: the same works once some have ended

A message says where, what, and what to do next: `where: problem`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "ConfigError",
    "HeyhiError",
    "LaunchError",
    "NoAnswerError",
    "ProjectError",
    "QueueFullError",
    "RefusedError",
    "UsageError",
    "did_you_mean",
    "told_at",
]


class HeyhiError(Exception):
    """The base class: a message for a person, and the exit status it leads to."""

    exit_status = 1

    def _render_traceback_(self) -> list[str]:
        """The text that IPython shows in a cell: the line that failed, and the message."""
        return [*_line_of_caller(self.__traceback__), f"{type(self).__name__}: {self}"]


def _line_of_caller(trace: "TracebackType | None") -> Iterator[str]:
    """The line that called HeyHi, which led to an error."""
    import traceback  # here: only a mistake pays for it

    ours = os.path.dirname(__file__) + os.sep
    frames = traceback.extract_tb(trace)
    theirs = list(takewhile(lambda frame: not frame.filename.startswith(ours), frames))
    if theirs and theirs[-1].line:
        place = f"{theirs[-1].filename}, " if os.path.isfile(theirs[-1].filename) else ""  # else a cell
        yield f"{place}line {theirs[-1].lineno}: {theirs[-1].line}"


class UsageError(HeyhiError):
    """The command line asks for something that cannot be."""

    exit_status = 2


class ProjectError(HeyhiError):
    """The project's folder, its schemas or its generated modules are not as they must be."""

    exit_status = 2


class ConfigError(HeyhiError, ValueError):
    """A config, an include or an override is wrong; `where` names the place, `problem` the rest."""

    exit_status = 2

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}" if where else problem)
        self.where = where
        self.problem = problem


class RefusedError(HeyhiError):
    """The command would lose or repeat work; the message says how to insist."""

    exit_status = 2


class LaunchError(HeyhiError):
    """The request is right, but this machine cannot carry it out now."""


class NoAnswerError(LaunchError):
    """Slurm does not answer, or its answer is unclear; the same command may work later."""


class QueueFullError(NoAnswerError):
    """Slurm's queue has as many jobs of the user as it accepts."""


def did_you_mean(word: str, known: "list[str]") -> str:
    """A clause `; did you mean 'a', 'b'?` with the names nearest to `word`, or an empty text."""
    import difflib  # here: only a mistake pays for it

    near = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return f"; did you mean {', '.join(map(repr, near))}?" if near else ""


@contextmanager
def told_at(where: object) -> Iterator[None]:
    """A ValueError inside becomes a ConfigError at this place; its text is only made then."""
    try:
        yield
    except ConfigError:
        raise  # it knows its own place
    except ValueError as problem:
        raise ConfigError(str(where), str(problem)) from None
