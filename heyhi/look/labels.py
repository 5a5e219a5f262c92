"""Short labels that distinguish runs, for places with little room.

p/c02_sup_train/sl/lr@0.1_2b05b5b0      sl lr=0.1          beside others of the same config
                                        sl 2b05b5b0        by its id alone
agent_six.greedy.epsilon: 0.1           agent_six=greedy   where others have agent_six.random
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from heyhi.config import LAUNCHER, SELECT
from heyhi.look.records import Record
from heyhi.texts import as_utf8

__all__ = ["choices", "config_of", "end_of", "is_launcher", "names_of", "owner_of"]

_HASH = re.compile(r"_([0-9a-f]{8})$")  # at the end of an id
_MOST_FIELDS = 4  # in a name
_LONGEST_VALUE = 24


def config_of(record: Record) -> str:
    """An id without its overrides: the config of the run."""
    return as_utf8(os.path.dirname(record.id) or record.id)


def end_of(record: Record) -> str:
    """The hash of an id, or all after its config."""
    found = _HASH.search(record.id)
    return found[1] if found else as_utf8(os.path.basename(record.id))


def is_launcher(name: str) -> bool:
    """True if a field belongs to the launcher, which changes no result."""
    return name.partition(".")[0] == LAUNCHER


def owner_of(text: str, folders: Set[str]) -> str:
    """The folder of the run that a path is, or lies inside; empty if there is none."""
    while text.startswith("/") and text != "/":
        if text in folders:
            return text
        text = os.path.dirname(text)
    return ""


# ---- Choices ------------------------------------------------------------------------------------


def choices(records: Sequence[Record]) -> dict[str, list[str | None]]:
    """The fields in which runs of a task set different messages: field -> the message of each run, or None.

    That is a oneof, as a rule.
    """
    of_task: dict[str, list[set[str]]] = {}
    messages = [_messages(record.config) for record in records]
    for record, found in zip(records, messages, strict=True):
        of_task.setdefault(record.task, []).append(found)
    fields = {name for several in of_task.values() for name in _chosen_among(several)}
    return {field: [_member(field, found) for found in messages] for field in sorted(fields)}


def _messages(config: Mapping[str, Any]) -> set[str]:
    """The paths of all messages that are set in a config; those of lists are left out."""
    found = set()
    for path, value in config.items():
        whole = path if value == SELECT else path.rpartition(".")[0]
        while whole and whole not in found and not any(part.isdigit() for part in whole.split(".")):
            found.add(whole)
            whole = whole.rpartition(".")[0]
    return found


def _chosen_among(several: Sequence[set[str]]) -> Iterable[str]:
    """The messages that all have, and of which each has at most one member of those that not all have."""
    everywhere = set.intersection(*several)
    optional = {path for found in several for path in found - everywhere}
    for parent in sorted({path.rpartition(".")[0] for path in optional} & everywhere):
        members = {path for path in optional if path.rpartition(".")[0] == parent}
        if all(len(members & found) <= 1 for found in several) and not is_launcher(parent):
            yield parent


def _member(field: str, found: set[str]) -> str | None:
    inner = sorted(path for path in found if path.rpartition(".")[0] == field)
    return inner[0].rpartition(".")[2] if inner else None


# ---- Names --------------------------------------------------------------------------------------


def names_of(records: Sequence[Record]) -> dict[str, str]:
    """Folder -> what a run is called: its config, and what tells it from others of the same config."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(config_of(record), []).append(record)
    folders: dict[str, str] = {record.folder: os.path.basename(config_of(record)) for record in records}
    names = dict(folders)
    for _ in range(2):  # the second time with what they need by its name
        names = {record.folder: name for group in groups.values() for record, name in _named(group, names)}
    counts = Counter(names.values())
    return {
        r.folder: f"{name} {end_of(r)}" if counts[name] > 1 else name
        for r in records
        for name in [names[r.folder]]
    }


def _named(group: Sequence[Record], names: Mapping[str, str]) -> Iterable[tuple[Record, str]]:
    config = os.path.basename(config_of(group[0]))
    told = _telling(group, names)
    short = {name: _short(name, told) for name in told}
    for number, record in enumerate(group):
        parts = [f"{short[name]}={values[number]}" for name, values in told.items() if values[number]]
        yield record, as_utf8(" ".join([config, ", ".join(parts[:_MOST_FIELDS])]).strip())


def _short(name: str, others: Iterable[str]) -> str:
    """The last part of a path that no other one has, or all of it."""
    taken = {part for other in others if other != name for part in other.split(".")}
    return next((part for part in reversed(name.split(".")) if part not in taken), name)


def _telling(group: Sequence[Record], names: Mapping[str, str]) -> dict[str, list[str]]:
    """The fields that differ among some runs, with their values as short texts: choices first, runs last."""
    fields = dict.fromkeys(name for record in group for name in record.config if not is_launcher(name))
    values = {name: [one or "" for one in chosen] for name, chosen in choices(group).items()}
    values.update({name: [_brief(record.config.get(name), names) for record in group] for name in fields})
    telling = [
        name
        for name, texts in values.items()
        if len(set(texts) - {""}) > 1 and max(map(len, texts)) <= _LONGEST_VALUE
    ]
    telling.sort(key=lambda name: any("=" in text for text in values[name]))
    return {name: values[name] for name in telling}


def _brief(value: Any, names: Mapping[str, str]) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str) and value.startswith("/"):
        return names.get(owner_of(value, names.keys()), value)
    return str(value)
