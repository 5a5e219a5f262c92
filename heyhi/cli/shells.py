"""The shells' own part of tab completion: a script each, and the line of a start-up file that reads it."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["SHELLS", "Shell", "trusted_file", "with_line"]

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
