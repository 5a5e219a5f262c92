"""Compose a config: base file + includes + overrides -> one message.

    1. the includes of the file, in their order, into an empty message
    2. the text of the file
    3. include overrides, in the order given
    4. scalar overrides, in the order given

What comes later wins: each step is a layer, which a trace can follow. Of two overrides for one field
the last one counts; which of them matter for the run's id, and in which order, `canonical` tells.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from heyhi.config import fields
from heyhi.config.canonical import Change, canonical_order
from heyhi.config.fields import Path as Key
from heyhi.config.includes import FileLayer, Loader, Spot, has_includes, task_name
from heyhi.config.overrides import NULL, Override, join_key, parse_override, split_key
from heyhi.config.search import INCLUDES, SUFFIX
from heyhi.errors import ConfigError, did_you_mean, told_at
from heyhi.project import Project, display

__all__ = ["Composer", "Composition", "Layer", "OverrideLayer", "compose"]


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


class OverrideLayer(NamedTuple):
    """A step of a composition: a scalar override changed what is at `path`, from the MetaCfg on."""

    override: Override
    path: Key


Layer = FileLayer | OverrideLayer
_Trace = Callable[[Layer], None]
_Keyed = tuple[Override, Key]


class Composer:
    """Composes any number of configs of one project, which all see the same files.

    It reads each file once, with its includes, and looks up each include once. `trace` is called with
    each layer.
    """

    def __init__(
        self,
        project: Project,
        meta_class: type[Message],
        *,
        extra_dirs: Sequence[Path] = (),
        trace: _Trace | None = None,
    ) -> None:
        self._meta_class = meta_class
        self._trace = trace
        self._loader = Loader(project, meta_class, extra_dirs, trace)
        self._wrong: dict[Path, ConfigError] = {}

    def compose(self, base: Path, overrides: Sequence[str]) -> Composition:
        """Compose the base config of a run. Raises ConfigError."""
        meta = fields.copy_of(self._load_base(base))
        task = task_name(meta, base)
        config: Message = getattr(meta, task)
        changes, notes = self._apply(base, config, overrides, (task,))
        canonical, more = _canonical(fields.type_of(config), changes)
        _check_required(meta, base, f"{task}.")
        return Composition(task, meta, config, canonical, (*notes, *more))

    def compose_message(self, path: Path, overrides: Sequence[str], cls: type[Message]) -> Message:
        """Compose a message of any other type; the paths of overrides are its own. Raises ConfigError."""
        message = fields.copy_of(self._loader.load(path, cls))
        changes, _ = self._apply(path, message, overrides, ())
        _canonical(fields.type_of(message), changes)  # also refuses overrides that contradict each other
        _check_required(message, path)
        return message

    def load(self, path: Path, cls: type[Message]) -> Message:
        """A file with its includes, as others include it: what it leaves out may be required.

        It is shared: do not change it. Raises ConfigError.
        """
        return self._loader.load(path, cls)

    def _load_base(self, base: Path) -> Message:
        # To say what is wrong takes long: it is found once, for all the lines that use the file.
        if (known := self._wrong.get(base)) is not None:
            raise ConfigError(known.where, known.problem)
        try:
            return self._loader.load(base, self._meta_class)
        except ConfigError as problem:
            self._wrong[base] = problem
            raise

    def _apply(
        self, base: Path, config: Message, overrides: Sequence[str], above: Key
    ) -> tuple[list[Change], list[str]]:
        """Do the overrides to the config, which is at the path `above`; what they did, and notes."""
        descriptor = fields.type_of(config)
        includes, scalars, notes = _sort_out(descriptor, overrides)
        spot = Spot(base, type(config), (), above)
        changes = [self._include(config, override, mount, spot) for override, mount in includes]
        for override, key in scalars:
            done, value = _set(config, key, override)
            _refuse_includes_field(descriptor, done, override)
            if self._trace is not None:
                self._trace(OverrideLayer(override, (*above, *done)))
            changes.append(Change(override, done, join_key(done), value, False))
        return changes, notes

    def _include(self, config: Message, override: Override, mount: Key, spot: Spot) -> Change:
        with told_at(override.where):
            done = self._loader.include(config, mount, override.text, spot)
        key = _include_key(fields.type_of(config), done)
        return Change(override, done, key, override.text.removesuffix(SUFFIX), True)


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
    return Composer(project, meta_class, extra_dirs=extra_dirs, trace=trace).compose(base, overrides)


# ---- Overrides ----------------------------------------------------------------------------------


def _sort_out(
    descriptor: Descriptor, overrides: Sequence[str]
) -> tuple[list[_Keyed], list[_Keyed], list[str]]:
    """Includes and scalars with their keys; of a key given twice the last one, with a note."""
    latest: dict[tuple[bool, Key | int], _Keyed] = {}
    notes = []
    for number, typed in enumerate(overrides):
        override = parse_override(typed)
        try:
            is_include, key, same = _read_key(descriptor, override.key)
        except ValueError as problem:
            raise ConfigError(override.where, str(problem)) from None
        # In a list an earlier one may be what makes a later index valid: all count, one by one.
        slot = (is_include, number if same is None else same)
        earlier = latest.pop(slot, None)
        if earlier is not None:
            notes.append(_note(earlier[0], repr(typed)))
        latest[slot] = (override, key)
    includes = [entry for (is_include, _), entry in latest.items() if is_include]
    scalars = [entry for (is_include, _), entry in latest.items() if not is_include]
    return includes, scalars, notes


def _note(override: Override, later: str) -> str:
    return f"{override.typed!r} is given up for {later}: the last one counts"


@cache
def _read_key(descriptor: Descriptor, typed: str) -> tuple[bool, Key, Key | None]:
    """True if it includes, its path, and that path resolved by the schema. Raises ValueError."""
    is_include, key = _kind_and_key(descriptor, split_key(typed))
    return is_include, key, fields.settled(descriptor, key)


def _kind_and_key(descriptor: Descriptor, key: Key) -> tuple[bool, Key]:
    """True if a key includes, and its path; a field whose name begins with I wins over an include."""
    known = fields.fields_of(descriptor)
    if key[0][:1] != "I" or key[0] in known:
        return False, key
    if key[0] == "I":
        return True, key[1:]
    mount = key[0][1:]
    if mount not in known and did_you_mean(key[0], [name for name in known if name[0] == "I"]):
        return False, key  # a misspelt field
    return True, (mount, *key[1:])


def _set(config: Message, key: Key, override: Override) -> tuple[Key, str]:
    try:
        return fields.set_text(config, key, override.text)
    except ValueError as problem:
        raise ConfigError(override.where, str(problem)) from None


def _refuse_includes_field(descriptor: Descriptor, path: Key, override: Override) -> None:
    """Includes are done before scalars are set: one that is set as a field would do nothing."""
    if INCLUDES not in path or override.text == NULL:
        return
    for field, _ in fields.steps(descriptor, path):
        if field.name == INCLUDES and has_includes(field.descriptor.containing_type):
            at = path.index(INCLUDES)
            how = f"{_include_key(descriptor, path[:at])}=<path>"
            raise ConfigError(
                override.where, f"{join_key(path[: at + 1])} cannot be set; write {how} to include"
            )


def _include_key(descriptor: Descriptor, mount: Key) -> str:
    if not mount:
        return "I"
    dot = "." if "I" + mount[0] in fields.fields_of(descriptor) else ""
    return f"I{dot}{join_key(mount)}"


# ---- What came out ------------------------------------------------------------------------------


def _canonical(descriptor: Descriptor, changes: Sequence[Change]) -> tuple[tuple[str, ...], list[str]]:
    """The texts of the changes in canonical order, and notes on those that do not count."""
    canonical = canonical_order(descriptor, changes)
    kept = set(canonical)
    return canonical, [
        _note(change.override, "a later value") for change in changes if change.text not in kept
    ]


def _check_required(message: Message, path: Path, prefix: str = "") -> None:
    if message.IsInitialized():
        return
    missing = cast(Any, message).FindInitializationErrors()  # not in the type stubs
    # protobuf writes beds["north"].name[0]
    names = [re.sub(r"\[(\".*?\"|[^]]*)\]", r".\1", name).removeprefix(prefix) for name in missing]
    fields_are = "required fields are" if len(names) > 1 else "required field is"
    raise ConfigError(
        display(path),
        f"{fields_are} not set: {', '.join(names)}; set it in the config or with {names[0]}=...",
    )
