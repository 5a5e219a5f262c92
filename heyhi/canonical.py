"""The canonical form of a list of overrides: lists that mean the same have one form, and one run id.

Most overrides commute: these are sorted, by the number of dots, then by text. Where order changes the
outcome the order given stays. Two overrides do not commute if one's path is inside the other's, or if
their paths part at two members of one oneof (choosing one clears the other). So lists with one canonical
form compose the same.
"""

import heapq
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor

from heyhi.fields import fields_of, map_value
from heyhi.overrides import NULL

__all__ = ["Change", "Clash", "canonical_order", "find_oneof_clash"]

_Path = tuple[str, ...]


class Change(NamedTuple):
    """One override: the path it acts on, its canonical text, and whether it includes."""

    path: _Path
    text: str
    is_include: bool


class Clash(NamedTuple):
    """Two overrides that choose different members of one oneof."""

    second: str
    problem: str


def canonical_order(descriptor: Descriptor, changes: Sequence[Change]) -> tuple[str, ...]:
    """The texts of the changes in canonical order."""
    routes = [_route(descriptor, change) for change in changes]
    roots = _conflict_roots(routes)
    groups: dict[_Path, list[str]] = {}
    for change, route in zip(changes, routes, strict=True):
        groups.setdefault(_group(route, roots), []).append(change.text)
    if len(groups) == len(changes):
        return tuple(sorted((change.text for change in changes), key=_sort_key))
    return tuple(_merge(list(groups.values())))


def _sort_key(text: str) -> tuple[int, str, str]:
    key, _, value = text.partition("=")
    return key.count("."), key, value


def _merge(groups: list[list[str]]) -> list[str]:
    """All texts, each group in its own order: again and again the smallest of those that come next."""
    heads = [(_sort_key(group[0]), index, 0) for index, group in enumerate(groups)]
    heapq.heapify(heads)
    merged = []
    while heads:
        _, index, position = heapq.heappop(heads)
        merged.append(groups[index][position])
        if position + 1 < len(groups[index]):
            following = groups[index][position + 1]
            heapq.heappush(heads, (_sort_key(following), index, position + 1))
    return merged


# ---- What does not commute ----------------------------------------------------------------------


@cache
def _oneofs(descriptor: Descriptor) -> dict[str, str]:
    """Field -> its oneof."""
    return {
        field.name: field.containing_oneof.name
        for field in descriptor.fields
        if field.containing_oneof is not None
    }


def _route(descriptor: Descriptor, change: Change) -> _Path:
    """The path with each oneof as a step of its own, so that its members meet in one place."""
    # Includes always come before scalars: the two kinds never meet.
    route = ["I" if change.is_include else ""]
    at: Descriptor | None = descriptor
    waiting = list(change.path)
    while waiting:
        name = waiting.pop(0)
        if at is None:
            route.append(name)
            continue
        oneof = _oneofs(at).get(name)
        route += [name] if oneof is None else [f"|{oneof}", name]
        field = fields_of(at)[name]
        at = field.descriptor.message_type
        if field.kind == "map":
            at = map_value(field.descriptor).message_type
        if field.kind in ("map", "list") and waiting:
            route.append(waiting.pop(0))
    return tuple(route)


def _conflict_roots(routes: list[_Path]) -> set[_Path]:
    """The places below which the order given must stay."""
    ends = set(routes)
    roots: set[_Path] = set()
    members: dict[_Path, str] = {}
    for route in routes:
        for length in range(1, len(route)):
            start, following = route[:length], route[length]
            if start in ends:
                roots.add(start)
            if start[-1].startswith("|") and members.setdefault(start, following) != following:
                roots.add(start)
    return roots


def _group(route: _Path, roots: set[_Path]) -> _Path:
    """The outermost root that the route goes through, else the route itself."""
    for length in range(1, len(route)):
        if route[:length] in roots:
            return route[:length]
    return route


def find_oneof_clash(descriptor: Descriptor, changes: Sequence[Change]) -> Clash | None:
    """The first two scalar overrides that set different members of one oneof, if there are any."""
    first: dict[_Path, tuple[str, str]] = {}
    for change in changes:
        if change.is_include or change.text.endswith(f"={NULL}"):
            continue
        route = _route(descriptor, change)
        for position, step in enumerate(route):
            if not step.startswith("|"):
                continue
            member = route[position + 1]
            known, text = first.setdefault(route[: position + 1], (member, change.text))
            if known != member:
                return Clash(
                    change.text,
                    f"chooses {member!r} of oneof {step[1:]!r}, and {text!r} chooses {known!r}; "
                    "only one of them can be set",
                )
    return None
