"""Config files, each one read with what it includes.

    conf/c01/a.prototxt:  includes { path: "big" mount: "launcher" }

    is found by           search
    and merged into       launcher, before what the file says itself; so the file wins

A file has the type of the message it is mounted on. Includes nest: any message with a `repeated
Include includes` field takes its own, below what it says itself. Each file is parsed once a process; a
`Loader` does not even look whether it has changed.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from heyhi.config import fields, prototxt
from heyhi.config.fields import Path as Key
from heyhi.config.overrides import join_key, split_key
from heyhi.config.search import INCLUDES, Search
from heyhi.errors import ConfigError, told_at
from heyhi.project import Project, display

__all__ = ["FileLayer", "Loader", "Spot", "has_includes", "task_name"]

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
    """The place of an include in its file, computed only for errors."""

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

    `trace` is called with each merged file.
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
        self._search = Search(project, extra_dirs)
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
        if known is not None and self._trace is None:  # a trace wants each file each time
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
    """True if a message of this type takes includes of its own."""
    field = descriptor.fields_by_name.get(INCLUDES)
    if field is None or not field.is_repeated or field.message_type is None:
        return False
    return {"path", "mount"} <= set(field.message_type.fields_by_name)


@cache
def _may_include(descriptor: Descriptor) -> bool:
    """True if a message of this type can hold an include, at any depth."""
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
