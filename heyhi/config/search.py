"""Config files by their names: the one that `-c` names, and those that includes name.

conf/c01/a.prototxt:  includes { path: "big" mount: "launcher" }

is looked for in      conf/c01, conf/common, the extra folders; then in launcher/ of each of these
(with a slash in it   first from the project's root)
"""

import os
from collections.abc import Sequence
from pathlib import Path

from heyhi.errors import ConfigError, did_you_mean
from heyhi.files import kind_of
from heyhi.project import Project, display
from heyhi.texts import some_of

__all__ = ["INCLUDES", "SUFFIX", "Search", "find_base"]

SUFFIX = ".prototxt"
#: The field of a message whose elements include files into it.
INCLUDES = "includes"

_Path = tuple[str, ...]


class Search:
    """The search path of includes. What was found stays found."""

    def __init__(self, project: Project, extra_dirs: Sequence[Path] = ()) -> None:
        self._root = project.root
        self._shared = (project.common, *extra_dirs)
        self._found: dict[tuple[str, Path, _Path], Path] = {}
        self._folders: dict[Path, str] = {}

    def find(self, name: str, includer: Path, mount: _Path) -> Path:
        """The file that an include names in the file `includer`. Raises ValueError."""
        found = self._found.get((name, includer, mount))
        if found is None:
            found = self._found[name, includer, mount] = self._look_up(name, includer, mount)
        return found

    def _look_up(self, name: str, includer: Path, mount: _Path) -> Path:
        if not name:
            raise ValueError("the include names no path")
        folders = [""] if name.startswith("/") else self._path(includer, mount)
        if "/" in name:
            folders.insert(0, str(self._root))
        # With the suffix first, everywhere: so a name and the name with its suffix are one config.
        for end in (SUFFIX, ""):
            for folder in folders:
                candidate = os.path.join(folder, name.removesuffix(SUFFIX) + end)
                if os.path.isfile(candidate):
                    return Path(os.path.realpath(candidate) if ".." in name else candidate)
        for folder in folders:
            kind = _kind(os.path.join(folder, name))
            if kind not in ("", "a folder"):
                raise ValueError(f"include {name!r}: is {kind}; a config is a regular file")
        known = list(self.known(includer, mount))
        hint = _near(name.removesuffix(SUFFIX), known) or _listed("known includes", known)
        raise ValueError(f"include {name!r}: no such config{hint}")

    def _path(self, includer: Path, mount: _Path) -> list[str]:
        if includer not in self._folders:
            self._folders[includer] = os.path.dirname(os.path.realpath(includer))
        bases = [self._folders[includer], *map(str, self._shared)]
        return bases + [f"{base}/{'/'.join(mount)}" for base in bases] if mount else bases

    def known(self, includer: Path, mount: _Path) -> dict[str, str]:
        """The configs of any type that a mount could include: name -> path.

        Of the file's own folder, not what is below.
        """
        found: dict[str, str] = {}
        for folder in self._path(includer, mount):
            for name in _names(folder):
                found.setdefault(name.removesuffix(SUFFIX), f"{folder}/{name}")
        for folder in map(str, self._shared):
            below = [f"{place}/{name}" for place, _, names in os.walk(folder) for name in names]
            for path in sorted(path for path in below if path.endswith(SUFFIX)):
                found.setdefault(path[len(folder) + 1 :].removesuffix(SUFFIX), path)
        return found


def find_base(typed: str, project: Project, cwd: Path | None = None) -> Path:
    """The file that `-c` names: from the cwd, else from the project root; the suffix may be left out.

    `cwd` is that of the command line, if it is not ours. Raises ConfigError.
    """
    cwd = cwd or Path.cwd()
    for folder in (cwd, project.root):
        for name in (typed, typed + SUFFIX):
            path = os.path.abspath(folder / name)
            if os.path.isfile(path):
                return Path(path)
    kind = _kind(cwd / typed) if typed else ""
    if kind == "a folder":
        there = _listed("configs there", _names(cwd / typed))
        raise ConfigError(typed, f"is a folder; give one of its configs{there}")
    if kind:
        raise ConfigError(typed, f"is {kind}; a config is a regular file")
    below = sorted(project.conf.rglob("*" + SUFFIX))
    known = [display(path) for path in below if project.common not in path.parents]
    hint = did_you_mean(typed, known) or _listed("configs here", known)
    raise ConfigError(repr(typed), f"no such config{hint}")


def _kind(path: str | Path) -> str:
    """The kind of the file with a name; empty if there is none, or if it cannot be read."""
    try:
        kind = kind_of(path)
    except ValueError:
        return ""  # no file can have that name
    return "" if kind.startswith("unreadable") else kind


def _near(name: str, known: list[str]) -> str:
    """A hint: configs with the same name in other folders, or else with similar names."""
    elsewhere = [one for one in known if one.endswith(f"/{name}")]
    return f"; did you mean {', '.join(map(repr, elsewhere))}?" if elsewhere else did_you_mean(name, known)


def _names(folder: str | Path) -> list[str]:
    """The configs in a folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if name.endswith(SUFFIX))


def _listed(title: str, names: Sequence[str]) -> str:
    return f"; {title}: {some_of(names) or 'none'}"
