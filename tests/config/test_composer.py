import re
from typing import Any

import pytest

from heyhi.config.composer import Composer, Layer, compose
from heyhi.config.includes import FileLayer
from tests.conftest import NO_FIELD, ComposeText, problem, show

# ---- Order --------------------------------------------------------------------------------------

ORDER = {
    "an include": ("includes { path: 'clay' mount: 'soil' } grow { }", "", "clay 1"),
    "the file wins over its own include": (
        "includes { path: 'clay' mount: 'soil' } grow { soil { kind: 'file' } }",
        "",
        "file 1",
    ),
    "an included override wins over the file": ("grow { soil { kind: 'file' } }", "Isoil=clay", "clay 1"),
    "a scalar wins over an include, wherever it stands": (
        "grow { }",
        "soil.kind=scalar Isoil=clay",
        "scalar 1",
    ),
    "a later include wins over an earlier one": (
        "includes { path: 'clay' mount: 'soil' } includes { path: 'loam' mount: 'soil' } grow { }",
        "",
        "loam 1",
    ),
    "an override at the root": ("grow { soil { kind: 'file' } }", "I=whole", "whole 0.5"),
    "a later include override wins": ("grow { }", "I=whole Isoil=clay", "clay 1"),
    "and so it does the other way round": ("grow { }", "Isoil=clay I=whole", "whole 1"),
    "of one mount the last": ("grow { }", "Isoil=clay I.soil=loam", "loam 0.5"),
}


@pytest.mark.parametrize("case", ORDER)
def test_order(compose_text: ComposeText, case: str) -> None:
    text, overrides, want = ORDER[case]
    chunks = {"clay": "kind: 'clay' depth: 1", "loam": "kind: 'loam'", "whole": "soil { kind: 'whole' }"}
    soil = compose_text(text, *overrides.split(), **chunks).config.to_frozen().soil  # type: ignore[attr-defined]
    assert f"{soil.kind} {soil.depth:g}" == want


def test_merging_appends_to_lists_and_replaces_members_of_a_oneof(compose_text: ComposeText) -> None:
    done = compose_text(
        "includes { path: 'basic' }"
        "grow { tags: 'file' watering { can { } } labels { key: 'b' value: 'file' } }",
        "I=more",
        basic="tags: 'base' watering { drip { } } labels { key: 'a' } labels { key: 'b' value: 'base' }",
        more="tags: 'more'",
    )
    assert show(done.config) == (
        'tags: "base" tags: "file" tags: "more" '
        'labels { key: "a" value: "" } labels { key: "b" value: "file" } watering { can { } }'
    )


def test_what_is_included_is_set_even_if_it_is_empty(compose_text: ComposeText) -> None:
    assert show(compose_text("grow { }", "Iwatering.drip=none", none="").config) == "watering { drip { } }"


def test_the_task_is_named_and_the_includes_are_gone(compose_text: ComposeText) -> None:
    done = compose_text("includes { path: 'clay' mount: 'soil' } pick { what: 'a' }", clay="depth: 1")
    assert done.task == "pick"
    assert show(done.meta) == 'pick { what: "a" soil { depth: 1.0 } }'


def test_the_file_that_is_read_again_is_as_it_was(compose_text: ComposeText) -> None:
    text = "includes { path: 'a' mount: 'helper' } grow { helper { soil { depth: 1 } } }"
    first = compose_text(text, "helper.name=x", "tags.-1=t", a="name: 'a'")
    again = compose_text(text)
    assert show(first.config) == 'tags: "t" helper { name: "x" soil { depth: 1.0 } }'
    assert show(again.config) == 'helper { name: "a" soil { depth: 1.0 } }'


# ---- Overrides that are wrong -------------------------------------------------------------------

REFUSED = {
    "Iteratons=3": f"Grow {NO_FIELD} 'Iteratons'; did you mean 'Iterations'?",
    "I.=clay": "bad key 'I.': a name is missing",
    "seed.=1": "bad key 'seed.': a name is missing",
    "seed=x": "seed: expected a whole number (int32), not 'x'",
    "--soil.depth=x": "soil.depth: expected a number (float), not 'x'",
    "grow.seed=1": f"Grow {NO_FIELD} 'grow'; .*",
    "helper.includes.-1.path=clay": "helper.includes cannot be set; write Ihelper=<path> to include",
}


@pytest.mark.parametrize("override", REFUSED)
def test_an_override_that_is_refused_is_named_as_typed(compose_text: ComposeText, override: str) -> None:
    said = problem(lambda: compose_text("grow { }", override), compose_text.project.root)
    pattern = re.escape(f"override {override!r}: {REFUSED[override]}").replace(r"\.\*", ".*")
    assert re.fullmatch(pattern, said), said


# ---- Required fields, fields that begin with I --------------------------------------------------

REQUIRED = {
    "pick { }": "required field is not set: what; set it in the config or with what=...",
    "pick { what: 'a' seals { } seals { by: 'me' } }": "required field is not set: seals.0.by; "
    "set it in the config or with seals.0.by=...",
    "pick { sealed { key: 'a.b' value { } } }": 'required fields are not set: what, sealed."a.b".by; '
    "set it in the config or with what=...",
}


@pytest.mark.parametrize("text", REQUIRED)
def test_a_required_field_must_be_set_in_the_end(compose_text: ComposeText, text: str) -> None:
    said = problem(lambda: compose_text(text), compose_text.project.root)
    assert said.split(": ", 1)[1] == REQUIRED[text]


def test_a_key_that_reads_includes_is_a_key(compose_text: ComposeText) -> None:
    done = compose_text("grow { }", "labels.includes=x", "helper.includes=NULL")
    assert show(done.config) == 'labels { key: "includes" value: "x" }'


def test_a_required_field_may_be_set_by_anyone(compose_text: ComposeText) -> None:
    for overrides in (["what=x"], ["I=chunk"]):
        assert show(compose_text("pick { }", *overrides, chunk="what: 'x'").config) == 'what: "x"'


def test_a_field_wins_over_an_include_of_its_name(compose_text: ComposeText) -> None:
    assert show(compose_text("grow { }", "Iterations=3").config) == "Iterations: 3"
    assert show(compose_text("odd { }", "I=3").config) == "I: 3"
    done = compose_text("odd { }", "Isoil=clay", "word=\\NULL", clay="depth: 1")
    assert show(done.config) == "word: NULL soil { depth: 1.0 }"
    assert done.overrides == ("Isoil=clay", "word=\\NULL")


def test_defaults_are_not_set(compose_text: ComposeText) -> None:
    done: Any = compose_text("grow { }")
    assert show(done.config) == ""
    assert done.config.seed == 7


# ---- Messages of any type, the trace, many lines ---------------------------------------------


def test_a_message_of_any_type_is_composed_with_its_own_paths(compose_text: ComposeText) -> None:
    path = compose_text.write("conf/common/a.prototxt", "includes { path: 'clay' mount: 'soil' } name: 'a'")
    compose_text.write("conf/common/clay.prototxt", "kind: 'clay'")
    overrides = ["soil.depth=1", "next.name=b", "I.next.soil=clay"]
    composer = Composer(compose_text.project, compose_text.demo.MetaCfg)
    message = composer.compose_message(path, overrides, compose_text.demo.Helper)
    assert show(message) == (
        'name: "a" soil { depth: 1.0 kind: "clay" } next { name: "b" soil { kind: "clay" } }'
    )


def test_the_trace_tells_each_layer_in_order(compose_text: ComposeText) -> None:
    compose_text.write("conf/base.prototxt", "includes { path: 'clay' mount: 'soil' } grow { seed: 1 }")
    compose_text.write("conf/common/clay.prototxt", "depth: 1")
    steps: list[Layer] = []
    compose(
        compose_text.base,
        ["seed=2", "Isoil=clay"],
        compose_text.project,
        compose_text.demo.MetaCfg,
        trace=steps.append,
    )
    told = [
        (step.file.name if isinstance(step, FileLayer) else step.override.typed, step.path) for step in steps
    ]
    assert told == [
        ("clay.prototxt", ("grow", "soil")),
        ("base.prototxt", ()),
        ("clay.prototxt", ("grow", "soil")),
        ("seed=2", ("grow", "seed")),
    ]


def test_all_lines_of_one_composer_see_the_same_files(compose_text: ComposeText) -> None:
    chunk = compose_text.write("conf/common/clay.prototxt", "depth: 1")
    compose_text.write("conf/base.prototxt", "includes { path: 'clay' mount: 'soil' } grow { seed: 1 }")
    composer = Composer(compose_text.project, compose_text.demo.MetaCfg)
    first = composer.compose(compose_text.base, ["seed=2", "soil.kind=x", "tags.-1=a"])
    chunk.unlink()
    compose_text.base.unlink()
    second = composer.compose(compose_text.base, ["lr=0.5"])
    third = composer.compose(compose_text.base, ["Isoil=clay"])
    assert show(first.config) == 'seed: 2 tags: "a" soil { depth: 1.0 kind: "x" }'
    assert show(second.config) == "seed: 1 lr: 0.5 soil { depth: 1.0 }"
    assert show(third.config) == "seed: 1 soil { depth: 1.0 }"


def test_a_wrong_file_is_wrong_for_each_line_of_a_composer(compose_text: ComposeText) -> None:
    compose_text.write("conf/base.prototxt", "grow { sed: 1 }")
    composer = Composer(compose_text.project, compose_text.demo.MetaCfg)
    told = [problem(lambda: composer.compose(compose_text.base, ()), compose_text.project.root) for _ in "12"]
    wrong = f"conf/base.prototxt:1:8: grow (Grow) {NO_FIELD} 'sed'; did you mean 'grow.seed'?"
    assert told == [wrong, wrong]
