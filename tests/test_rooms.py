"""The plan of the house: what is at the package's root, and what rooms may use of each other.

import-linter holds that rooms import one way (`make check`). It sees the face of a room as one module; these
tests follow what its names lead to.
"""

import ast
import graphlib
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent
PACKAGE = HERE / "heyhi"
ROOMS = ("cli", "api", "workflow", "look", "batch", "launch", "runs", "config")  # each uses those after it
ROOT = {
    *("__init__", "__main__", "errors", "texts", "log", "files", "interrupts", "project"),
    *("conf", "run", "util", "commands"),  # names of the original, and of installed scripts
}
# What is tested across rooms: whole stories, the harness of the tests, and the project around the package.
STORIES = {
    *(
        "end_to_end",
        "full_disk",
        "kill",
        "mistakes",
        "properties",
        "public_names",
        "rooms",
        "secrets",
        "stress",
    ),
    *("cluster", "docs", "faults", "mutated"),
}
PLUGINS = sorted(HERE.glob("snakemake_*/*.py"))

MODULES = {
    ".".join(path.relative_to(HERE).with_suffix("").parts): path
    for room in ROOMS
    for path in sorted((PACKAGE / room).glob("*.py"))
    if path.name != "__init__.py"
}


def room_of(path: Path) -> str:
    return path.parent.name if path.parent.parent == PACKAGE else ""


def face(room: str) -> dict[str, str]:
    """What the face of a room gives: name -> module that it is from; a module that is given whole, itself."""
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text())
    (call,) = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    given: dict[str, str] = {}
    for keyword in call.keywords:
        words = ast.literal_eval(keyword.value).split()
        assert not given.keys() & set(words), "each name is given once"
        given |= {word: word if keyword.arg == "whole" else str(keyword.arg) for word in words}
    return given


FACES = {room: face(room) for room in ROOMS}


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return [*ast.walk(ast.parse(path.read_text()))]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """What a file imports of HeyHi: module, name; the name is empty for a plain import."""
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "heyhi":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "heyhi")


def uses(path: Path) -> Iterator[tuple[str, str]]:
    """The rooms' names that a file uses: those imported, and those said as `runs.read_state`."""
    whole = [name for module, name in imports(path) if module == "heyhi" and name in ROOMS]
    for module, name in imports(path):
        if module.count(".") == 1 and (room := module.split(".")[1]) in ROOMS:
            yield room, name
    for node in nodes_of(path):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole:
            yield node.value.id, node.attr


def leads_to() -> dict[str, set[str]]:
    """Which modules of rooms each module of a room uses, through faces too."""
    found: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        direct = {module for module, _ in imports(path) if module in MODULES}
        inside = {f"{module}.{part}" for module, part in imports(path)} & MODULES.keys()
        faced = {f"heyhi.{room}.{FACES[room][part]}" for room, part in uses(path) if part in FACES[room]}
        found[name] = (direct | inside | faced) - {name}
    return found


def test_the_root_has_what_all_use_and_the_names_of_old() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == ROOT
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {*ROOMS, "completions", "template"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_flat_and_its_face_is_short(room: str) -> None:
    assert list((PACKAGE / room).glob("*/*.py")) == []
    text = (PACKAGE / room / "__init__.py").read_text()
    assert text.count("\n") <= 60
    doc = ast.get_docstring(ast.parse(text)) or ""
    named = set(re.findall(r"\w+", doc))
    assert {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"} - named == set(), (
        "in its picture"
    )


@pytest.mark.parametrize("room", ROOMS)
def test_a_face_tells_the_type_checker_what_it_gives(room: str) -> None:
    typed = {(module.rpartition(".")[2], name) for module, name in imports(PACKAGE / room / "__init__.py")}
    given = {(module, name) for name, module in FACES[room].items() if module != name}
    assert typed - {("heyhi", "hand_on")} == given
    package = importlib.import_module(f"heyhi.{room}")
    for name, module in FACES[room].items():
        home = importlib.import_module(f"heyhi.{room}.{module}")
        assert getattr(package, name) is (home if module == name else getattr(home, name))
    hidden = {
        name for name, module in FACES[room].items() if module != name and f"heyhi.{room}.{name}" in MODULES
    }
    assert hidden == set(), "a module of that name would hide it"


@pytest.mark.parametrize("path", [*MODULES.values(), *PLUGINS], ids=lambda path: str(path.relative_to(HERE)))
def test_other_rooms_are_used_through_their_faces(path: Path) -> None:
    past = [
        f"from {module} import {name}"
        for module, name in imports(path)
        if module.count(".") > 1 and module.split(".")[1] != room_of(path)
    ]
    unknown = [
        f"{room}.{name}" for room, name in uses(path) if room != room_of(path) and name not in FACES[room]
    ]
    assert (past, unknown) == ([], [])


def test_what_a_face_gives_is_used_elsewhere() -> None:
    users = [*MODULES.values(), *PLUGINS, *(PACKAGE / f"{name}.py" for name in ROOT)]
    used = {use for path in users for use in uses(path) if use[0] != room_of(path)}
    given = {(room, name) for room in ROOMS for name in FACES[room]}
    kept = {
        ("config", name) for name in ("Frozen", "_ReadOnlyMap", "_thaw", "add_methods")
    }  # generated, pickled
    assert given - used - kept - {("workflow", "RULES"), ("workflow", "load")} == set()


def test_no_modules_use_each_other_in_a_circle() -> None:
    list(graphlib.TopologicalSorter(leads_to()).static_order())


@pytest.mark.parametrize("start", ["launch.job", "launch.here", "runs.order"])
def test_what_starts_a_run_never_composes(start: str) -> None:
    graph, seen, left = leads_to(), set[str](), [f"heyhi.{start}"]
    while left:
        seen.add(name := left.pop())
        left += graph[name] - seen
    assert seen & {"heyhi.config.composer", "heyhi.config.includes", "heyhi.runs.draft"} == set()


def test_tests_have_the_same_rooms() -> None:
    """A test of a module is in its room: test_X.py, or test_X_more.py where X has several files."""
    found = {path.relative_to(HERE / "tests") for path in (HERE / "tests").rglob("test_*.py")}
    homes = {room: {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"} for room in ROOMS}
    homes["tasks"] = {path.stem for path in (HERE / "tasks").glob("*.py")} - {"__init__"} | {"commands"}
    homes[""] = (ROOT - {"__init__", "__main__"}) | STORIES
    strangers = {
        str(path)
        for path in found
        for modules in [homes.get("" if path.parent == Path() else str(path.parent), set())]
        if not any(f"{path.stem}_".startswith(f"test_{module}_") for module in modules)
    }
    assert strangers == set(), "a test of no module"
    assert {path.parent.name for path in found} >= set(ROOMS)


def test_the_picture_of_the_architecture_shows_the_rooms_as_they_are() -> None:
    text = (HERE / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \| .+? \| (.+) \|$", text, re.MULTILINE)
    assert [room for room, _ in rows] == list(ROOMS)
    for room, modules in rows:
        there = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
        assert set(re.findall(r"`(\w+)`", modules)) == there, room
