"""Config files: the one that `-c` names, and each one read with what it includes.

    conf/c01/a.prototxt:  includes { path: "big" mount: "launcher" }

    is looked for in      conf/c01, conf/common, the extra folders; then in launcher/ of each of these
    (with a slash in it   first from the project's root)
    and merged into       launcher, before what the file says itself; so the file wins

A file has the type of the message it is mounted on. Includes nest: any message with a `repeated
Include includes` field takes its own, below what it says itself. Each file is parsed once a process; a
`Loader` does not even look whether it has changed.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from heyhi import fields, prototxt
from heyhi.errors import ConfigError, did_you_mean, told_at
from heyhi.fields import Path as Key
from heyhi.overrides import join_key, split_key
from heyhi.project import Project, display

__all__ = [
    "INCLUDES",
    "SUFFIX",
    "FileLayer",
    "Loader",
    "Spot",
    "find_base",
    "has_includes",
    "known_includes",
    "task_name",
]

SUFFIX = ".prototxt"
INCLUDES = "includes"
_LONGEST_CHAIN = 200


def task_name(meta: Message, where: Path) -> str:
    """The member of MetaCfg's oneof `task` that is set. Raises ConfigError."""
    task = meta.WhichOneof("task")
    if task is None:
        known = [field.name for field in meta.DESCRIPTOR.oneofs_by_name["task"].fields]
        raise ConfigError(display(where), f"no task in this config; it sets one of {', '.join(known)}")
    return str(task)


# ---- Loading ------------------------------------------------------------------------------------


class FileLayer(NamedTuple):
    """A step of a composition: what a file says itself was merged at `path`; its includes came before.

    The path begins at the MetaCfg. `in_element`: the file is included by an element (of a list or map)
    of the file that comes next without this; it is merged below that element, and with it.
    """

    where: str
    path: Key
    file: Path
    message: Message
    in_element: bool


class Spot(NamedTuple):
    """A message of a file that includes: `inside` is its path there, `at` where it will be merged.

    `chain` are the files that include one another down to this one.
    """

    file: Path
    cls: type[Message]
    chain: tuple[Path, ...]
    at: Key
    inside: Key = ()
    in_element: bool = False

    def below(self, path: Key) -> "Spot":
        """A message inside this one; a path of two parts leads to an element of a list or map."""
        return self._replace(
            at=(*self.at, *path),
            inside=(*self.inside, *path),
            in_element=self.in_element or len(path) == 2,
        )


class _Place(NamedTuple):
    """Where an include stands in its file; looked up only if something is wrong with it."""

    spot: Spot
    number: int
    root: Path

    def __str__(self) -> str:
        file, cls = self.spot.file, self.spot.cls
        places = prototxt.places(file, fields.type_of(cls), self.root)
        place = places[join_key((*self.spot.inside, INCLUDES, str(self.number)))]
        return f"{display(file)}:{place.line}:{place.column}"


class Loader:
    """Loads files with what they include; each is read once, and each include is looked up once.

    `trace` is told of each file that is merged.
    """

    def __init__(
        self,
        project: Project,
        meta_class: type[Message],
        extra_dirs: Sequence[Path] = (),
        trace: Callable[[FileLayer], None] | None = None,
    ) -> None:
        self._root = project.origin
        self._meta_class = meta_class
        self._search = _Search(project, extra_dirs)
        self._trace = trace
        self._loaded: dict[tuple[Path, type[Message]], Message] = {}

    def load(self, file: Path, cls: type[Message]) -> Message:
        """The message of a file and its includes. It is shared: do not change it. Raises ConfigError."""
        return self._load(file, cls, (), (), in_element=False)

    def include(self, root: Message, mount: Key, name: str, spot: Spot) -> Key:
        """Merge the file that an include of that name finds into the message at `mount` below `root`.

        `spot` is where the include stands. Returns the canonical mount. Raises ValueError.
        """
        target, done = fields.mounted(root, mount)
        file = self._search.find(name, spot.file, mount)
        included = self._load(file, type(target), (*spot.at, *done), spot.chain, in_element=spot.in_element)
        target.MergeFrom(included)  # the target is then set, even if the file is empty
        return done

    def _load(
        self, file: Path, cls: type[Message], at: Key, chain: tuple[Path, ...], *, in_element: bool
    ) -> Message:
        known = self._loaded.get((file, cls))
        if known is not None and self._trace is None:  # a trace is told of a file each time
            return known
        _refuse_cycle(file, chain)
        own = prototxt.read(file, cls, self._root)
        spot = Spot(file, cls, (*chain, file), at, in_element=in_element)
        whole = self._loaded[file, cls] = self._with_includes(own, spot)
        if self._trace is not None:
            self._trace(FileLayer(display(file), at, file, own, in_element))
        return whole

    def _with_includes(self, own: Message, spot: Spot) -> Message:
        """A message of a file, its includes and those of the messages in it merged below it."""
        if not _may_include(fields.type_of(own)):
            return own
        result, rest = type(own)(), fields.copy_of(own)
        if has_includes(fields.type_of(own)):
            rest.ClearField(INCLUDES)
            self._merge_includes(result, own, spot)
        for path, part in _parts_that_may_include(rest):
            part.CopyFrom(self._with_includes(part, spot.below(path)))
        result.MergeFrom(rest)
        return result

    def _merge_includes(self, result: Message, own: Message, spot: Spot) -> None:
        """Includes of the MetaCfg are mounted in the task, all others in the message itself."""
        includes: Any = getattr(own, INCLUDES)
        root = result
        if includes and type(own) is self._meta_class:
            task = task_name(own, spot.file)
            root, spot = getattr(result, task), spot._replace(at=(*spot.at, task))
        for number, include in enumerate(includes):
            with told_at(_Place(spot, number, self._root)):
                mount = split_key(include.mount) if include.mount else ()
                self.include(root, mount, include.path, spot)


def _refuse_cycle(file: Path, chain: tuple[Path, ...]) -> None:
    if file in chain:
        names = [display(one) for one in (*chain[chain.index(file) :], file)]
        raise ConfigError(names[0], f"includes itself: {' -> '.join(names)}")
    if len(chain) >= _LONGEST_CHAIN:
        raise ConfigError(display(file), f"more than {_LONGEST_CHAIN} includes in one another")


# ---- Which messages include ---------------------------------------------------------------------


@cache
def has_includes(descriptor: Descriptor) -> bool:
    """Whether a message of this type takes includes of its own."""
    field = descriptor.fields_by_name.get(INCLUDES)
    if field is None or not field.is_repeated or field.message_type is None:
        return False
    return {"path", "mount"} <= set(field.message_type.fields_by_name)


@cache
def _may_include(descriptor: Descriptor) -> bool:
    """Whether a message of this type can hold an include, at any depth."""
    seen, waiting = set(), [descriptor]
    while waiting:
        one = waiting.pop()
        if has_includes(one):
            return True
        seen.add(one)
        inner = (f.message_type for f in one.fields if f.message_type is not None)
        waiting += [d for d in inner if d not in seen]
    return False


def _parts_that_may_include(message: Message) -> Iterator[tuple[Key, Message]]:
    for field, value in message.ListFields():
        if field.message_type is None or not _may_include(field.message_type):
            continue
        if not field.is_repeated:
            yield (field.name,), value
        elif fields.is_map(field):
            for key in sorted(value):
                yield (field.name, fields.key_text(field, key)), value[key]
        else:
            for index, element in enumerate(value):
                yield (field.name, str(index)), element


# ---- Finding files ------------------------------------------------------------------------------


class _Search:
    """The search path of includes. What was found stays found."""

    def __init__(self, project: Project, extra_dirs: Sequence[Path]) -> None:
        self._root = project.root
        self._shared = (project.common, *extra_dirs)
        self._found: dict[tuple[str, Path, Key], Path] = {}
        self._folders: dict[Path, str] = {}

    def find(self, name: str, includer: Path, mount: Key) -> Path:
        """The file that an include names in the file `includer`. Raises ValueError."""
        found = self._found.get((name, includer, mount))
        if found is None:
            found = self._found[name, includer, mount] = self._look_up(name, includer, mount)
        return found

    def _look_up(self, name: str, includer: Path, mount: Key) -> Path:
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
        known = list(self.known(includer, mount))
        hint = _near(name.removesuffix(SUFFIX), known) or _listed("known includes", known)
        raise ValueError(f"include {name!r}: no such config{hint}")

    def _path(self, includer: Path, mount: Key) -> list[str]:
        if includer not in self._folders:
            self._folders[includer] = os.path.dirname(os.path.realpath(includer))
        bases = [self._folders[includer], *map(str, self._shared)]
        return bases + [f"{base}/{'/'.join(mount)}" for base in bases] if mount else bases

    def known(self, includer: Path, mount: Key) -> dict[str, str]:
        """What could be included, by the names that find it; of the file's own folder not what is below."""
        found: dict[str, str] = {}
        for folder in self._path(includer, mount):
            for name in _names(folder):
                found.setdefault(name.removesuffix(SUFFIX), f"{folder}/{name}")
        for folder in map(str, self._shared):
            below = [f"{place}/{name}" for place, _, names in os.walk(folder) for name in names]
            for path in sorted(path for path in below if path.endswith(SUFFIX)):
                found.setdefault(path[len(folder) + 1 :].removesuffix(SUFFIX), path)
        return found


def known_includes(project: Project, includer: Path, mount: Key) -> dict[str, str]:
    """What the file `includer` could include at a mount, of whatever type: the names, and what they find."""
    return _Search(project, ()).known(includer, mount)


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
    if typed and os.path.isdir(cwd / typed):
        there = _listed("configs there", _names(cwd / typed))
        raise ConfigError(typed, f"is a folder; give one of its configs{there}")
    below = sorted(project.conf.rglob("*" + SUFFIX))
    known = [display(path) for path in below if project.common not in path.parents]
    hint = did_you_mean(typed, known) or _listed("configs here", known)
    raise ConfigError(repr(typed), f"no such config{hint}")


def _near(name: str, known: list[str]) -> str:
    """One of just that name in another folder, else one of a name like it."""
    elsewhere = [one for one in known if one.endswith(f"/{name}")]
    return f"; did you mean {', '.join(map(repr, elsewhere))}?" if elsewhere else did_you_mean(name, known)


def _names(folder: str | Path) -> list[str]:
    """The configs in a folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if name.endswith(SUFFIX))


def _listed(title: str, names: Sequence[str], most: int = 12) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return f"; {title}: {', '.join(names[:most]) or 'none'}{more}"
