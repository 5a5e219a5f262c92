"""Compose a config: base file + includes + overrides -> one message.

    1. the includes of the file, in their order, into an empty message
    2. the text of the file
    3. include overrides, in the order given
    4. scalar overrides, in the order given

Includes nest: any message with a `repeated Include includes` field takes its own, below what it says
itself. A chunk has the type of the field it is mounted on. Each file is parsed once a process.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from heyhi import fields, prototxt
from heyhi.canonical import Change, canonical_order, find_oneof_clash
from heyhi.errors import ConfigError
from heyhi.overrides import Override, join_key, parse_override, split_key
from heyhi.project import Project

__all__ = ["Composition", "Layer", "compose", "compose_message", "find_base", "task_name"]

_SUFFIX = ".prototxt"


class Composition(NamedTuple):
    """A composed config, and the overrides that matter for the run's id.

    `meta` is the MetaCfg, `config` the task's message in it; `overrides` are canonical, in canonical
    order, one text each; `notes` say what was dropped.
    """

    task: str
    meta: Message
    config: Message
    overrides: tuple[str, ...]
    notes: tuple[str, ...]


class Layer(NamedTuple):
    """One step of a composition: `message` was merged at `mount`, or `override` was applied."""

    where: str
    mount: tuple[str, ...]
    message: Message | None
    file: Path | None = None
    override: Override | None = None
    path: tuple[str, ...] = ()


_Trace = Callable[[Layer], None]


def compose(
    base: Path,
    overrides: Sequence[str],
    project: Project,
    meta_class: type[Message],
    *,
    extra_dirs: Sequence[Path] = (),
    trace: _Trace | None = None,
) -> Composition:
    """Compose the base config of a run. Raises ConfigError."""
    loader = _Loader(project, tuple(extra_dirs), trace)
    meta = meta_class()
    meta.MergeFrom(loader.load(base, meta_class, ()))
    task = task_name(meta, base)
    config: Message = getattr(meta, task)
    canonical, notes = _apply(loader, base, config, overrides)
    _check_required(meta, base)
    return Composition(task, meta, config, canonical, notes)


def compose_message(
    path: Path,
    overrides: Sequence[str],
    project: Project,
    cls: type[Message],
    *,
    extra_dirs: Sequence[Path] = (),
) -> Message:
    """Compose a message of any other type; the paths of overrides are its own. Raises ConfigError."""
    loader = _Loader(project, tuple(extra_dirs), None)
    message = cls()
    message.MergeFrom(loader.load(path, cls, ()))
    _apply(loader, path, message, overrides)
    _check_required(message, path)
    return message


def task_name(meta: Message, where: Path) -> str:
    """The member of MetaCfg's oneof `task` that is set."""
    task = meta.WhichOneof("task")
    if task is None:
        known = [field.name for field in meta.DESCRIPTOR.oneofs_by_name["task"].fields]
        raise ConfigError(
            prototxt.display(where), f"no task in this config; it sets one of {', '.join(known)}"
        )
    return str(task)


def find_base(typed: str, project: Project) -> Path:
    """The file that `-c` names: from the cwd, else from the project root; the suffix may be left out."""
    for folder in (Path.cwd(), project.root):
        for name in (typed, typed + _SUFFIX):
            path = Path(os.path.abspath(folder / name))
            if path.is_file():
                return path
    path = Path(os.path.abspath(typed))
    if path.is_dir():
        raise ConfigError(typed, "is a folder; give one of its configs" + _known_in([path]))
    raise ConfigError(typed, "no such config" + _near_base(typed, project))


def _near_base(typed: str, project: Project) -> str:
    from heyhi.errors import did_you_mean

    below = sorted(project.conf.rglob("*" + _SUFFIX))
    known = [prototxt.display(p) for p in below if project.common not in p.parents]
    return did_you_mean(typed, known) or _listed("configs here", known)


# ---- Overrides ----------------------------------------------------------------------------------


def _apply(
    loader: "_Loader", base: Path, config: Message, overrides: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Do the overrides to the config; returns their canonical texts in order, and notes."""
    includes, scalars, notes = _sort_out(fields.type_of(config), overrides)
    found = [(o, m, loader.find(o.text, base.parent, m, o.where)) for o, m in includes]
    changes = []
    for override, mount, path in found:
        target = _mounted(config, mount, override.where)
        loader.include(target, path, (), mount)
        text = override.text.removesuffix(_SUFFIX)
        changes.append(Change(mount, f"{_include_key(fields.type_of(config), mount)}={text}", True))
    for override, key in scalars:
        try:
            done, text = fields.set_text(config, key, override.text)
        except ValueError as problem:
            raise ConfigError(override.where, str(problem)) from None
        loader.note(Layer(override.where, (), None, override=override, path=done))
        changes.append(Change(done, f"{join_key(done)}={text}", False))
    if clash := find_oneof_clash(fields.type_of(config), changes):
        raise ConfigError(f"override {clash.second!r}", clash.problem)
    return canonical_order(fields.type_of(config), changes), tuple(notes)


_Key = tuple[str, ...]


def _sort_out(
    descriptor: Descriptor, overrides: Sequence[str]
) -> tuple[list[tuple[Override, _Key]], list[tuple[Override, _Key]], list[str]]:
    """Includes and scalars with their keys; of a key given twice the last one, with a note."""
    latest: dict[tuple[bool, _Key], tuple[Override, _Key]] = {}
    notes = []
    for number, typed in enumerate(overrides):
        override = parse_override(typed)
        is_include, key = _kind_and_key(descriptor, override)
        # In a list an earlier one may be what makes the later index valid.
        unique = key if not any(part.lstrip("-").isdigit() for part in key) else (*key, str(number))
        earlier = latest.pop((is_include, unique), None)
        if earlier is not None:
            notes.append(f"{earlier[0].typed!r} is given up for {typed!r}: the last one counts")
        latest[(is_include, unique)] = (override, key)
    includes = [entry for (is_include, _), entry in latest.items() if is_include]
    scalars = [entry for (is_include, _), entry in latest.items() if not is_include]
    return includes, scalars, notes


def _kind_and_key(descriptor: Descriptor, override: Override) -> tuple[bool, _Key]:
    """Whether it includes, and its path; a field whose name begins with I wins over an include."""
    try:
        if override.key == "I":
            return True, ()
        key = split_key(override.key.removeprefix("I.") if override.key[:2] == "I." else override.key)
        if override.key[:2] == "I.":
            return True, key
        if override.key[0] == "I" and key[0] not in fields.fields_of(descriptor):
            return True, (key[0][1:], *key[1:])
    except ValueError as problem:
        raise ConfigError(override.where, str(problem)) from None
    return False, key


def _include_key(descriptor: Descriptor, mount: _Key) -> str:
    if not mount:
        return "I"
    dot = "." if "I" + mount[0] in fields.fields_of(descriptor) else ""
    return f"I{dot}{join_key(mount)}"


def _mounted(message: Message, mount: _Key, where: str) -> Message:
    try:
        return fields.mounted(message, mount)
    except ValueError as problem:
        raise ConfigError(where, str(problem)) from None


def _check_required(message: Message, path: Path) -> None:
    if not message.IsInitialized():
        missing = cast(Any, message).FindInitializationErrors()  # not in the type stubs
        task = message.WhichOneof("task") if "task" in message.DESCRIPTOR.oneofs_by_name else None
        names = [name.removeprefix(f"{task}.") for name in missing]
        fields_are = "required fields are" if len(names) > 1 else "required field is"
        raise ConfigError(
            prototxt.display(path),
            f"{fields_are} not set: {', '.join(names)}; set it in the config or with {names[0]}=...",
        )


# ---- Files and their includes -------------------------------------------------------------------


class _Loader:
    """Loads files with what they include, looking includes up along one search path."""

    def __init__(self, project: Project, extra_dirs: tuple[Path, ...], trace: _Trace | None) -> None:
        self._project = project
        self._extra_dirs = extra_dirs
        self._trace = trace

    def note(self, layer: Layer) -> None:
        """Tell whoever asked for the trace."""
        if self._trace is not None:
            self._trace(layer)

    def include(self, target: Message, path: Path, chain: tuple[Path, ...], at: _Key) -> None:
        """Merge a file, of the target's type, into the target, which is then set even if empty."""
        loaded = self.load(path, type(target), chain, at)
        target.SetInParent()
        target.MergeFrom(loaded)

    def load(self, path: Path, cls: type[Message], chain: tuple[Path, ...], at: _Key = ()) -> Message:
        """The message of a file and its includes. It may be shared: do not change it."""
        if path in chain:
            names = [prototxt.display(p) for p in (*chain[chain.index(path) :], path)]
            raise ConfigError(names[0], f"includes itself: {' -> '.join(names)}")
        try:
            own = prototxt.read(path, cls, self._project.root)
            return self._with_includes(own, path, (*chain, path), at)
        except RecursionError:
            raise ConfigError(prototxt.display(path), "includes are nested too deeply") from None

    def _with_includes(self, own: Message, path: Path, chain: tuple[Path, ...], at: _Key) -> Message:
        """A message of a file, its includes and those of the messages in it merged below it."""
        if not _may_include(fields.type_of(own)):
            self.note(Layer(prototxt.display(path), at, own, path))
            return own
        result, rest = type(own)(), type(own)()
        rest.CopyFrom(own)
        if _has_includes(fields.type_of(own)):
            rest.ClearField("includes")
            self._merge_includes(result, own, path, chain, at)
        for name, part in _parts_that_may_include(rest):
            part.CopyFrom(self._with_includes(part, path, chain, (*at, *name)))
        self.note(Layer(prototxt.display(path), at, own, path))
        result.MergeFrom(rest)
        return result

    def _merge_includes(
        self, result: Message, own: Message, path: Path, chain: tuple[Path, ...], at: _Key
    ) -> None:
        """Includes of the MetaCfg are mounted in the task, all others in the message itself."""
        root: Message = result
        is_meta = not at and "task" in own.DESCRIPTOR.oneofs_by_name
        own_includes: Any = getattr(own, "includes")  # noqa: B009
        if is_meta and own_includes:
            root = getattr(result, task_name(own, path))
        for index, include in enumerate(own_includes):
            where = _IncludePlace(path, own, self._project.root, index)
            try:
                mount = split_key(include.mount) if include.mount else ()
                found = self.find(include.path, path.parent, mount, str(where))
                self.include(_mounted(root, mount, str(where)), found, chain, (*at, *mount))
            except ValueError as problem:
                if isinstance(problem, ConfigError):
                    raise
                raise ConfigError(str(where), str(problem)) from None

    def find(self, name: str, folder: Path, mount: _Key, where: str) -> Path:
        """The file that an include names, from a config in `folder`. Raises ConfigError."""
        if not name:
            raise ConfigError(where, "the include names no path")
        if name.startswith("/"):
            candidates = [Path(name)]
        else:
            candidates = [folder_ / name for folder_ in self._search_path(folder, mount)]
            if "/" in name:
                candidates.insert(0, self._project.root / name)
        for candidate in candidates:
            found = _file(candidate)
            if found is not None:
                return found
        raise ConfigError(where, self._no_include(name, folder, mount))

    def _search_path(self, folder: Path, mount: _Key) -> list[Path]:
        bases = [Path(os.path.realpath(folder)), self._project.common, *self._extra_dirs]
        return bases + [base.joinpath(*mount) for base in bases] if mount else bases

    def _no_include(self, name: str, folder: Path, mount: _Key) -> str:
        from heyhi.errors import did_you_mean

        known = []
        for base in self._search_path(folder, mount):
            found = sorted(base.rglob("*" + _SUFFIX)) if base.is_dir() else []
            known += [str(path.relative_to(base)).removesuffix(_SUFFIX) for path in found]
        known = list(dict.fromkeys(known))
        hint = did_you_mean(name.removesuffix(_SUFFIX), known)
        return f"include {name!r}: no such config" + (hint or _listed("known includes", known))


class _IncludePlace:
    """Where an include stands in its file; looked up only if something is wrong with it."""

    def __init__(self, path: Path, own: Message, root: Path, index: int) -> None:
        self._path, self._own, self._root, self._index = path, own, root, index

    def __str__(self) -> str:
        name = prototxt.display(self._path)
        places = prototxt.places(self._path, fields.type_of(self._own), self._root)
        place = places.get(f"includes.{self._index}")
        return f"{name}:{place.line}:{place.column}" if place else name


def _file(path: Path) -> Path | None:
    for candidate in (str(path), f"{path}{_SUFFIX}"):
        if os.path.isfile(candidate):
            return Path(os.path.normpath(candidate))
    return None


def _listed(title: str, names: Sequence[str], most: int = 12) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return f"; {title}: {', '.join(names[:most]) or 'none'}{more}"


def _known_in(folders: Sequence[Path]) -> str:
    names = [p.name for folder in folders for p in sorted(folder.glob("*" + _SUFFIX))]
    return _listed("configs there", names)


@cache
def _has_includes(descriptor: Descriptor) -> bool:
    field = descriptor.fields_by_name.get("includes")
    if field is None or not field.is_repeated or field.message_type is None:
        return False
    return {"path", "mount"} <= set(field.message_type.fields_by_name)


@cache
def _may_include(descriptor: Descriptor) -> bool:
    """Whether a message of this type can hold an include, at any depth."""
    seen, waiting = set(), [descriptor]
    while waiting:
        one = waiting.pop()
        if _has_includes(one):
            return True
        seen.add(one)
        inner = (f.message_type for f in one.fields if f.message_type is not None)
        waiting += [d for d in inner if d not in seen]
    return False


def _parts_that_may_include(message: Message) -> Iterator[tuple[_Key, Message]]:
    for field, value in message.ListFields():
        if field.message_type is None or not _may_include(field.message_type):
            continue
        if not field.is_repeated:
            yield (field.name,), value
        elif fields.is_map(field):
            for key in sorted(value):
                yield (field.name, str(key)), value[key]
        else:
            for index, element in enumerate(value):
                yield (field.name, str(index)), element
