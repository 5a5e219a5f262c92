"""Shells as completion sees them: how they cut a line into words, their scripts, their start-up files.

    python run.py -c 'my conf/a|        split       ["python", "run.py", "-c", "my conf/a"], quote '
    Candidate("my conf/ab.prototxt")    for_bash    what readline puts in place of its own cut of it

A candidate is a whole word as the command will see it. What a shell shows beside it is its note.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["SHELLS", "Candidate", "Shell", "for_bash", "paths", "split", "steps", "trusted_file", "with_line"]

_MARK = "# heyhi: tab completion"


class Shell(NamedTuple):
    """A shell: where its start-up file is, and how that reads a file if it is there."""

    name: str
    folder: str  # of the environment
    default: str
    file: str
    reads: str

    @property
    def script(self) -> Path:
        """The script that completes `python run.py` and `heyhi` in it."""
        return Path(__file__).parent.with_name("completions") / f"heyhi.{self.name}"

    def start_up_file(self, environ: Mapping[str, str]) -> Path:
        """The file that it reads when it starts; a link is followed to the file itself."""
        folder = environ.get(self.folder) or os.path.expanduser(self.default)
        return Path(os.path.realpath(Path(folder, self.file)))

    @property
    def line(self) -> str:
        """The line for the start-up file. It does nothing once the script is gone."""
        path = shlex.quote(str(self.script))
        return f"{self.reads.format(path)}  {_MARK}"


_IF = "if [ -r {0} ]; then . {0}; fi"
SHELLS = {
    shell.name: shell
    for shell in (
        Shell("bash", "HOME", "~", ".bashrc", _IF),
        Shell("zsh", "ZDOTDIR", "~", ".zshrc", _IF),
        Shell("fish", "XDG_CONFIG_HOME", "~/.config", "fish/config.fish", "if test -r {0}; source {0}; end"),
    )
}


def trusted_file(environ: Mapping[str, str]) -> Path:
    """The file that names the folders whose interpreters a key press may start, a line each.

    The scripts read it. By itself a key press starts only what is in an absolute folder of PATH or in the
    active virtual environment: a checkout may bring a .venv/bin/python that does anything.
    """
    chosen = environ.get("XDG_CONFIG_HOME", "")
    folder = chosen if os.path.isabs(chosen) else os.path.expanduser("~/.config")
    return Path(folder, "heyhi", "trusted")


def with_line(text: str, line: str) -> str:
    """The text of a start-up file with our line, which is there once: in place of an earlier one, or last."""
    lines = text.split("\n")
    ours = [number for number, one in enumerate(lines) if one.endswith(_MARK)]
    if not ours:
        ending = "" if text.endswith("\n") or not text else "\n"
        return f"{text}{ending}{line}\n"
    lines[ours[0]] = line
    return "\n".join(one for number, one in enumerate(lines) if number not in ours[1:])


# ---- Words --------------------------------------------------------------------------------------


_CURSOR = "\0"  # no argument can hold it
_TO_ESCAPE = re.compile(r"([^\w@%+=:,./~-])", re.ASCII)


class Candidate(NamedTuple):
    """A candidate for a word; `ends`: a space follows, and the next word begins."""

    text: str
    note: str = ""
    ends: bool = True


def split(line: str) -> tuple[list[str], str]:
    """The words of a line up to the cursor, without their quotes, and the quote that is still open.

    The last word is the one at the cursor; it may be empty.
    """
    for quote in ("", "'", '"'):
        try:
            words = shlex.split(f"{line}{_CURSOR}{quote}")
        except ValueError:
            continue
        return [*words[:-1], words[-1].removesuffix(_CURSOR)], quote
    return [""], ""


def for_bash(candidate: Candidate, word: str, quote: str, tail: str) -> str:
    """A candidate as a reply to bash, which replaces only `tail`, the end of the word as it is typed.

    Where the tail begins, COMP_WORDBREAKS tells: behind the = of `lr=0.|`. With an open quote it begins
    behind that, or, behind `nohup` and the like, with it.
    """
    if quote:  # which bash closes by itself
        return candidate.text[len(word) - len(tail.removeprefix(quote)) :]
    text = candidate.text[len(word) - len(split(tail)[0][-1]) :]
    return _TO_ESCAPE.sub(r"\\\1", text) + " " * candidate.ends


def steps(
    names: Iterable[tuple[str, str]], typed: str, fits: Callable[[str], bool] = lambda _: True
) -> Iterator[Candidate]:
    """The next step from what is typed towards names with slashes; a folder where one in it fits."""
    seen = set()
    for name, path in names:
        if not name.startswith(typed):
            continue
        step, slash, _ = name[len(typed) :].partition("/")
        text = f"{typed}{step}{slash}"
        if text not in seen and fits(path):
            seen.add(text)
            yield Candidate(text, ends=not slash)


def paths(typed: str, folder: Path, suffix: str | None = "") -> Iterator[Candidate]:
    """Files of that suffix (None: no files) and folders that a relative path from a folder may mean."""
    head, slash, name = typed.rpartition("/")
    place = folder / os.path.expanduser(f"{head}{slash}")
    entries = sorted(os.scandir(place), key=lambda entry: entry.name) if place.is_dir() else []
    for entry in entries:
        if not entry.name.startswith(name) or (entry.name[0] == "." and not name):
            continue
        if entry.is_dir():
            yield Candidate(f"{head}{slash}{entry.name}/", ends=False)
        elif suffix is not None and entry.name.endswith(suffix):
            yield Candidate(f"{head}{slash}{entry.name}")
