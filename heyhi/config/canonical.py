"""The canonical form of a list of overrides: lists that mean the same have one form, and one run id.

Most overrides commute: these are sorted, by the number of dots, then by text. Where order changes the
outcome the order given stays. Two overrides do not commute if one's path is inside the other's, or if
their paths part at two members of one oneof (choosing one clears the other). Elements of a list come by
their index: the first must be there before the second can be. So lists with one canonical form compose
the same, and the form itself composes.
"""

import heapq
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor

from heyhi.config.fields import steps
from heyhi.config.overrides import NULL, Override
from heyhi.errors import ConfigError

__all__ = ["Change", "canonical_order"]


class Change(NamedTuple):
    """The effect of one override: the path it acts on, and its canonical key and value."""

    override: Override
    path: tuple[str, ...]
    key: str
    value: str
    is_include: bool

    @property
    def text(self) -> str:
        """The override in its canonical spelling."""
        return f"{self.key}={self.value}"

    @property
    def rank(self) -> tuple[int, str, str]:
        """Its sort key among overrides that commute."""
        return self.key.count("."), self.key, self.value


class _Oneof(NamedTuple):
    """A step of a route: its members meet here."""

    name: str


# The path of a change with each oneof as a step of its own; the index of a list's element is an int.
_Route = tuple[str | int | _Oneof, ...]
_Routed = tuple[_Route, Change]


def canonical_order(descriptor: Descriptor, changes: Sequence[Change]) -> tuple[str, ...]:
    """The texts of the changes in canonical order; a value that a later one replaced is left out.

    Raises ConfigError if two of them choose different members of one oneof.
    """
    routed = [(_route(descriptor, change.path, change.is_include), change) for change in changes]
    _refuse_two_members(routed)
    routes = tuple([route for route, _ in routed])
    if _all_commute(routes):
        ordered = sorted(changes, key=lambda change: change.rank)
    else:
        ordered = _arrange(routed, _conflicts(routes), 1)
    return tuple([change.text for change in ordered])


@cache
def _all_commute(routes: tuple[_Route, ...]) -> bool:
    """True if each override has its own field and order does not matter: the usual case."""
    has_lists = any(isinstance(step, int) for route in routes for step in route)
    return not has_lists and len({*routes}) == len(routes) and not _conflicts(routes)


def _arrange(routed: list[_Routed], conflicts: set[_Route], start: int) -> list[Change]:
    """The changes in canonical order; their routes are the same up to `start`."""
    if len(routed) == 1:
        return [routed[0][1]]
    chains: dict[_Route, list[_Routed]] = {}
    for entry in routed:
        route = entry[0]
        chains.setdefault(route[: _free_steps(route, conflicts, start)], []).append(entry)
    return _merge([_chain(common, chain, conflicts) for common, chain in chains.items()])


def _free_steps(route: _Route, conflicts: set[_Route], start: int) -> int:
    """The number of steps of the route up to which order does not matter."""
    for length in range(start, len(route)):
        if isinstance(route[length], int) or route[:length] in conflicts:
            return length
    return len(route)


def _chain(common: _Route, chain: list[_Routed], conflicts: set[_Route]) -> list[Change]:
    """Changes that do not commute, in the order that counts; the steps they share are `common`."""
    if common in conflicts:
        return [change for _, change in chain]
    if len(chain[0][0]) == len(common):
        return _what_counts([change for _, change in chain])
    elements: dict[int, list[_Routed]] = {}
    for entry in chain:
        index = entry[0][len(common)]
        assert isinstance(index, int), "only the elements of a list stop a route there"
        elements.setdefault(index, []).append(entry)
    start = len(common) + 1
    return [change for index in sorted(elements) for change in _arrange(elements[index], conflicts, start)]


def _what_counts(changes: list[Change]) -> list[Change]:
    """The last value for one field, and a NULL after it: clearing leaves the messages around the field."""
    if changes[0].is_include:
        return changes
    values = [change for change in changes if change.value != NULL]
    last = changes[-1]
    return [values[-1], last] if values and last.value == NULL else [last]


def _merge(chains: list[list[Change]]) -> list[Change]:
    """All changes, each chain in its own order: again and again the smallest of those that come next."""
    heads = [(chain[0].rank, number, 0) for number, chain in enumerate(chains)]
    heapq.heapify(heads)
    merged = []
    while heads:
        _, number, position = heads[0]
        chain = chains[number]
        merged.append(chain[position])
        position += 1
        if position < len(chain):
            heapq.heapreplace(heads, (chain[position].rank, number, position))
        else:
            heapq.heappop(heads)
    return merged


# ---- What does not commute ----------------------------------------------------------------------


@cache
def _route(descriptor: Descriptor, path: tuple[str, ...], is_include: bool) -> _Route:
    # Includes always come before scalars: the two kinds never meet.
    route: list[str | int | _Oneof] = ["I" if is_include else ""]
    for field, part in steps(descriptor, path):
        if (oneof := field.descriptor.containing_oneof) is not None:
            route.append(_Oneof(oneof.name))
        route.append(field.name)
        if part is not None:
            route.append(int(part) if field.kind == "list" else part)
    return tuple(route)


def _conflicts(routes: Sequence[_Route]) -> set[_Route]:
    """The places below which the order given must stay."""
    ends = set(routes)
    found: set[_Route] = set()
    members: dict[_Route, str | int | _Oneof] = {}
    for route in routes:
        for length in range(1, len(route)):
            start, following = route[:length], route[length]
            if start in ends:
                found.add(start)
            if isinstance(start[-1], _Oneof) and members.setdefault(start, following) != following:
                found.add(start)
    return found


def _refuse_two_members(routed: list[_Routed]) -> None:
    """Scalars that choose two members of one oneof are a mistake; an include may be overridden."""
    chosen: dict[_Route, tuple[str | int | _Oneof, Change]] = {}
    for route, change in routed:
        if change.is_include or change.value == NULL:
            continue
        for position, step in enumerate(route):
            if not isinstance(step, _Oneof):
                continue
            member = route[position + 1]
            known, first = chosen.setdefault(route[: position + 1], (member, change))
            if known != member:
                raise ConfigError(
                    change.override.where,
                    f"chooses {member!r} of oneof {step.name!r}, and {first.text!r} chooses {known!r}; "
                    "only one of them can be set",
                )
