import os
import re
from pathlib import Path

import pytest

from heyhi.config.composer import compose
from heyhi.config.includes import Loader
from heyhi.config.search import find_base
from tests.conftest import NO_FIELD, ComposeText, problem, show

# ---- Nested includes ----------------------------------------------------------------------------

NESTED = {
    "in a chunk": (
        "includes { path: 'a' mount: 'helper' } grow { }",
        "",
        'helper { name: "a" soil { kind: "clay" } }',
    ),
    "in a message of the file": (
        "grow { helper { includes { path: 'clay' mount: 'soil' } soil { depth: 2 } } }",
        "",
        'helper { soil { depth: 2.0 kind: "clay" } }',
    ),
    "at any depth": (
        "grow { helper { next { next { includes { path: 'a' } name: 'x' } } } }",
        "",
        'helper { next { next { name: "x" soil { kind: "clay" } } } }',
    ),
    "in a list and in a map": (
        "grow { helpers { includes { path: 'a' } }"
        "named_helpers { key: 'k' value { includes { path: 'a' } } } }",
        "",
        'helpers { name: "a" soil { kind: "clay" } } '
        'named_helpers { key: "k" value { name: "a" soil { kind: "clay" } } }',
    ),
    "over what is included around it": (
        "includes { path: 'outer' mount: 'helper' } grow { helper { includes { path: 'a' } } }",
        "",
        'helper { name: "a" soil { depth: 3.0 kind: "clay" } }',
    ),
    "in an override": ("grow { }", "Ihelper.next=a", 'helper { next { name: "a" soil { kind: "clay" } } }'),
    "of includes": ("grow { }", "Ihelper=deep", 'helper { name: "deep" soil { kind: "clay" } }'),
    "into an element": ("grow { }", "Iplants.-1=rose Iplants.0=tall", 'plants { name: "rose" height: 3 }'),
    "into a map": ("grow { }", "Ibeds.north=rose", 'beds { key: "north" value { name: "rose" } }'),
}


@pytest.mark.parametrize("case", NESTED)
def test_includes_nest(compose_text: ComposeText, case: str) -> None:
    text, overrides, want = NESTED[case]
    chunks = {
        "clay": "kind: 'clay'",
        "a": "includes { path: 'clay' mount: 'soil' } name: 'a'",
        "deep": "includes { path: 'a' } name: 'deep'",
        "outer": "name: 'outer' soil { depth: 3 }",
        "rose": "name: 'rose'",
        "tall": "height: 3",
    }
    assert show(compose_text(text, *overrides.split(), **chunks).config) == want


# ---- Search path --------------------------------------------------------------------------------

# files, whose kind is their own name -> include -> the one that is found
FILES = ["conf/own", "conf/both", "conf/common/both", "conf/common/shared", "conf/common/soil/short"]
FILES += ["conf/soil/near", "conf/common/soil/near", "conf/common/any/where", "elsewhere/x", "any/where"]
SEARCH = {
    "own": "conf/own",
    "shared": "conf/common/shared",
    "both": "conf/both",
    "short": "conf/common/soil/short",
    "near": "conf/soil/near",
    "own.prototxt": "conf/own",
    "short.prototxt": "conf/common/soil/short",
    "any/where": "any/where",
    "elsewhere/x": "elsewhere/x",
    "elsewhere/x.prototxt": "elsewhere/x",
    "soil/short": "conf/common/soil/short",
    "conf/common/shared": "conf/common/shared",
    "../elsewhere/x": "elsewhere/x",
    "./own": "conf/own",
    "{root}/elsewhere/x": "elsewhere/x",
    "{root}/elsewhere/x.prototxt": "elsewhere/x",
}


@pytest.mark.parametrize("name", SEARCH)
def test_an_include_is_found_alike_from_a_file_and_the_command_line(
    compose_text: ComposeText, name: str
) -> None:
    for file in FILES:
        compose_text.write(f"{file}.prototxt", f"kind: '{file}'")
    path = name.format(root=compose_text.project.root)
    want = f'soil {{ kind: "{SEARCH[name]}" }}'
    assert show(compose_text(f"includes {{ path: '{path}' mount: 'soil' }} grow {{ }}").config) == want
    assert show(compose_text("grow { }", f"Isoil={path}").config) == want


def test_a_chunk_includes_from_its_own_folder(compose_text: ComposeText) -> None:
    compose_text.write("conf/common/x/a.prototxt", "includes { path: 'b' mount: 'soil' }")
    compose_text.write("conf/common/x/b.prototxt", "kind: 'near'")
    compose_text.write("conf/common/b.prototxt", "kind: 'far'")
    assert show(compose_text("grow { }", "Ihelper=x/a").config) == 'helper { soil { kind: "near" } }'


def test_a_link_includes_from_where_it_leads(compose_text: ComposeText) -> None:
    target = compose_text.write("elsewhere/a.prototxt", "includes { path: 'b' mount: 'soil' }")
    compose_text.write("elsewhere/b.prototxt", "kind: 'there'")
    (compose_text.project.common / "a.prototxt").symlink_to(target)
    (compose_text.project.common / "linked").symlink_to(target.parent)
    want = 'helper { soil { kind: "there" } }'
    assert show(compose_text("grow { }", "Ihelper=a").config) == want
    assert show(compose_text("grow { }", "Ihelper=linked/a").config) == want
    assert show(compose_text("grow { }", "Ihelper=linked/../elsewhere/a").config) == want


def test_extra_folders_come_last_and_hold_for_nested_includes(
    compose_text: ComposeText, tmp_path: Path
) -> None:
    compose_text.write("more/a.prototxt", "includes { path: 'b' mount: 'soil' }")
    compose_text.write("more/soil/b.prototxt", "kind: 'more'")
    compose_text.write("conf/base.prototxt", "grow { helper { includes { path: 'a' } } }")
    done = compose(
        compose_text.base, (), compose_text.project, compose_text.demo.MetaCfg, extra_dirs=[tmp_path / "more"]
    )
    assert show(done.config) == 'helper { soil { kind: "more" } }'


def test_a_name_and_the_name_with_its_suffix_are_one_config(compose_text: ComposeText) -> None:
    compose_text.write("conf/a", "kind: 'without'")
    compose_text.write("conf/common/a.prototxt", "kind: 'with'")
    for name in ("a", "a.prototxt"):
        assert show(compose_text("grow { }", f"Isoil={name}").config) == 'soil { kind: "with" }'


def test_a_folder_is_no_config(compose_text: ComposeText) -> None:
    (compose_text.project.common / "clay").mkdir()
    assert show(compose_text("grow { }", "Isoil=clay", clay="depth: 1").config) == "soil { depth: 1.0 }"


# ---- What goes wrong ----------------------------------------------------------------------------

CHUNKS = {
    "clay": "depth: 1",
    "loam": "depth: 2",
    "bad": "depth: 'x'",
    "a": "includes { path: 'b' }",
    "b": "includes { path: 'a' }",
    "me": "includes { path: 'me' mount: 'next' }",
    "lost": "includes { path: 'clya' mount: 'soil' }",
    "launcher__big": "slurm { }",
}
KNOWN = "known includes: base, a, b, bad, clay, loam, lost, me, launcher/big"
WRONG = {
    # on the command line
    ("grow { }", "Isoil=clya"): "override 'Isoil=clya': include 'clya': no such config; did you mean 'clay'?",
    ("grow { }", "Isoil=zzzz"): f"override 'Isoil=zzzz': include 'zzzz': no such config; {KNOWN}",
    ("grow { }", "Isoil=/no/x"): f"override 'Isoil=/no/x': include '/no/x': no such config; {KNOWN}",
    (
        "grow { }",
        "Ilauncher=bg",
    ): "override 'Ilauncher=bg': include 'bg': no such config; did you mean 'big', 'b'?",
    ("grow { }", "Isoil=big"): "override 'Isoil=big': include 'big': no such config; "
    "did you mean 'launcher/big'?",
    ("grow { }", "Isoil="): "override 'Isoil=': the include names no path",
    ("grow { }", "Isol=clay"): f"override 'Isol=clay': Grow {NO_FIELD} 'sol'; did you mean 'soil'?",
    ("grow { }", "Isoil.depth=clay"): "override 'Isoil.depth=clay': "
    "soil.depth is no message: nothing can be included there",
    (
        "grow { }",
        "Iplants=clay",
    ): "override 'Iplants=clay': plants is a list: include into one of its elements",
    ("grow { }", "Iplants.1=clay"): "override 'Iplants.1=clay': plants has 0 elements: bad index '1'; "
    "valid are 0 or -1 to append",
    ("grow { }", "Ilabels.a=clay"): "override 'Ilabels.a=clay': "
    "labels is a map of scalars: nothing can be included there",
    ("grow { }", "Ilauncher=clay"): f"conf/common/clay.prototxt:1:1: Launcher {NO_FIELD} 'depth'; "
    "its fields: local, slurm",
    ("grow { }", "Isoil=bad"): "conf/common/bad.prototxt:1:8: depth: expected a number (float), not \"'x'\"",
    # in files
    ("includes { path: 'clya' mount: 'soil' } grow { }", ""): "conf/base.prototxt:1:10: include 'clya': "
    "no such config; did you mean 'clay'?",
    (
        "grow { }\nincludes { path: 'clay' mount: 'sol' }",
        "",
    ): f"conf/base.prototxt:2:10: Grow {NO_FIELD} 'sol'; did you mean 'soil'?",
    ("includes { path: 'clay' mount: 'a..b' } grow { }", ""): "conf/base.prototxt:1:10: "
    "bad key 'a..b': a name is missing",
    ("includes { mount: 'soil' } grow { }", ""): "conf/base.prototxt:1:10: the include names no path",
    ("grow { helper { includes { path: 'clya' } } }", ""): "conf/base.prototxt:1:26: include 'clya': "
    "no such config; did you mean 'clay'?",
    ("grow { helper { next {\nincludes { path: 'a' }\nincludes { path: '?' } } } }", "Ihelper=clay"): (
        "conf/common/a.prototxt: includes itself: conf/common/a.prototxt -> conf/common/b.prototxt -> "
        "conf/common/a.prototxt"
    ),
    ("grow { }", "Ihelper=lost"): "conf/common/lost.prototxt:1:10: include 'clya': "
    "no such config; did you mean 'clay'?",
    # cycles
    ("grow { }", "Ihelper=me"): "conf/common/me.prototxt: includes itself: "
    "conf/common/me.prototxt -> conf/common/me.prototxt",
    ("includes { path: 'base' } grow { }", ""): "conf/base.prototxt: includes itself: "
    "conf/base.prototxt -> conf/base.prototxt",
    # the task
    ("", ""): "conf/base.prototxt: no task in this config; it sets one of grow, pick, odd",
    (
        "includes { path: 'clay' }",
        "",
    ): "conf/base.prototxt: no task in this config; it sets one of grow, pick, odd",
}


@pytest.mark.parametrize(("text", "override"), WRONG, ids=lambda text: text[:50])
def test_what_is_wrong_says_where_what_and_what_would_be_right(
    compose_text: ComposeText, monkeypatch: pytest.MonkeyPatch, text: str, override: str
) -> None:
    monkeypatch.chdir(compose_text.project.root)
    overrides = [override] if override else []
    said = problem(lambda: compose_text(text, *overrides, **CHUNKS), compose_text.project.root)
    pattern = re.escape(WRONG[text, override]).replace(r"\.\*", ".*")
    assert re.fullmatch(pattern, said), said


def test_a_chain_of_includes_has_an_end(compose_text: ComposeText) -> None:
    for number in range(210):
        compose_text.write(f"conf/common/h{number}.prototxt", f"includes {{ path: 'h{number + 1}' }}")
    said = problem(lambda: compose_text("grow { }", "Ihelper=h0"), compose_text.project.root)
    assert said == "conf/common/h200.prototxt: more than 200 includes in one another"
    compose_text.write("conf/common/h200.prototxt", "name: 'last'")
    assert show(compose_text("grow { }", "Ihelper=h1").config) == 'helper { name: "last" }'


STRANGE = {
    "I/=x": f"Grow {NO_FIELD} '/'; its fields: .*",
    'Ibeds."/"=x': "include 'x': no such config; known includes: base",
    'Ibeds."../../.."=x': "include 'x': no such config; known includes: base",
    'Ibeds."\\u0000"=x': "include 'x': no such config; known includes: base",
    f"Ibeds.{'x' * 5000}=x": "include 'x': no such config; known includes: base",
    f"I{'x' * 5000}=x": f"Grow {NO_FIELD} 'x{{57}}...'; its fields: .*",
    f"Isoil={'x' * 5000}": "include 'x*': no such config; known includes: base",
    "Isoil=\0": r"include '\\x00': no such config; known includes: base",
    "Isoil=\n": r"include '\\n': no such config; known includes: base",
}


@pytest.mark.parametrize("override", STRANGE, ids=lambda override: repr(override[:20]))
def test_a_strange_include_is_looked_for_in_no_strange_place(
    compose_text: ComposeText, override: str
) -> None:
    # Nor is the root of the file system listed for what was meant: that would never end.
    said = problem(lambda: compose_text("grow { }", override), compose_text.project.root)
    assert re.search(f": {STRANGE[override]}$", said), said


# ---- The base file ------------------------------------------------------------------------------


@pytest.fixture
def in_a_folder(compose_text: ComposeText, monkeypatch: pytest.MonkeyPatch) -> ComposeText:
    """With conf/beds/carrot.prototxt and carrots.prototxt, in the folder conf."""
    compose_text.write("conf/beds/carrot.prototxt", "")
    compose_text.write("conf/beds/carrots.prototxt", "")
    monkeypatch.chdir(compose_text.project.conf)
    return compose_text


BASES = ["beds/carrot.prototxt", "beds/carrot", "conf/beds/carrot.prototxt", "{root}/conf/beds/carrot"]


@pytest.mark.parametrize("typed", [*BASES, "../conf/beds/carrot"])
def test_the_base_file_is_named_from_here_or_from_the_project(in_a_folder: ComposeText, typed: str) -> None:
    root = in_a_folder.project.root
    assert find_base(typed.format(root=root), in_a_folder.project) == root / "conf/beds/carrot.prototxt"


NO_BASES = {
    "beds/carot": "'beds/carot': no such config; "
    "did you mean 'beds/carrot.prototxt', 'beds/carrots.prototxt'?",
    "zz": "'zz': no such config; configs here: beds/carrot.prototxt, beds/carrots.prototxt",
    "beds": "beds: is a folder; give one of its configs; configs there: carrot.prototxt, carrots.prototxt",
    "": "'': no such config; configs here: beds/carrot.prototxt, beds/carrots.prototxt",
    "\0": "'\\x00': no such config; configs here: beds/carrot.prototxt, beds/carrots.prototxt",
    "x" * 5000: f"'{'x' * 5000}': no such config; configs here: beds/carrot.prototxt, beds/carrots.prototxt",
}


@pytest.mark.parametrize("typed", NO_BASES, ids=lambda typed: repr(typed[:20]))
def test_a_base_file_that_is_not_there_is_told_with_its_like(in_a_folder: ComposeText, typed: str) -> None:
    assert problem(lambda: find_base(typed, in_a_folder.project), in_a_folder.project.root) == NO_BASES[typed]


# ---- Reading once -------------------------------------------------------------------------------


def test_a_file_is_loaded_with_its_includes_once(compose_text: ComposeText) -> None:
    path = compose_text.write("conf/common/a.prototxt", "includes { path: 'clay' mount: 'soil' } name: 'a'")
    compose_text.write("conf/common/clay.prototxt", "kind: 'clay'")
    loader = Loader(compose_text.project, compose_text.demo.MetaCfg)
    message = loader.load(path, compose_text.demo.Helper)
    assert show(message) == 'name: "a" soil { kind: "clay" }'
    path.unlink()
    assert loader.load(path, compose_text.demo.Helper) is message


def test_composing_warm_opens_no_file(compose_text: ComposeText, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "includes { path: 'clay' mount: 'soil' } grow { helper { includes { path: 'a' } } }"
    compose_text(text, clay="depth: 1", a="name: 'a'")
    for path in compose_text.project.conf.rglob("*.prototxt"):
        os.utime(path, (1, 1))

    def again() -> str:
        return show(compose(compose_text.base, (), compose_text.project, compose_text.demo.MetaCfg).config)

    first = again()
    monkeypatch.setattr(Path, "read_bytes", None)
    assert again() == first
