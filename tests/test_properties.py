"""Truths that hold for whatever is typed, tried out on many random examples (the same ones each time)."""

import itertools
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heyhi.cli.complete_config import read_sketch
from heyhi.config import prototxt
from heyhi.config.composer import Composition
from heyhi.config.fields import fields_of, inner_type, map_key, map_value
from heyhi.config.frozen import freeze
from heyhi.config.outline import read_outline
from heyhi.config.views import fingerprint, flat_lines, with_defaults
from heyhi.errors import ConfigError
from tests.conftest import ComposeText, sketch_of

many = settings(derandomize=True, deadline=None, database=None, max_examples=150)

BASE = """grow {
  tags: "a" tags: "b" plants { name: "x" } plants { soil { depth: 1 } } prices { key: 3 value: 1 }
  watering { rain: 1 }
}"""
CHUNKS = {
    "clay": "kind: 'clay' depth: 1",
    "loam": "kind: 'loam'",
    "whole": "soil { kind: 'whole' } tags: 'w' watering { can { } }",
    "rose": "name: 'rose'",
    "tall": "name: 'tall' height: 3",
    "drip": "litres: 5",
    "can": "",
    "watering": "drip { }",
    "helper": "includes { path: 'clay' mount: 'soil' } name: 'h'",
}


@pytest.fixture(scope="module")
def composer(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> ComposeText:
    composer = ComposeText(tmp_path_factory.mktemp("properties"), demo)
    for name, text in CHUNKS.items():
        composer.write(f"conf/common/{name}.prototxt", text)
    return composer


# ---- Random messages ----------------------------------------------------------------------------

texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["NULL", "SELECT", "\\NULL", "\\\\SELECT", "a.b", 'a"b', "a=b", "0", "-1", "\n", "|", "$x"]
    ),
)
T = FieldDescriptor
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    T.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    T.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    T.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    T.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    T.CPPTYPE_FLOAT: st.floats(width=32, allow_nan=False) | st.just(float("nan")),
    T.CPPTYPE_DOUBLE: st.floats(allow_nan=False) | st.just(float("nan")),
    T.CPPTYPE_BOOL: st.booleans(),
}


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == T.TYPE_BYTES:
        return st.binary(max_size=6) | st.sampled_from([b"NULL", b"\\NULL", b"SELECT"])
    return texts if field.type == T.TYPE_STRING else SCALARS[field.cpp_type]


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 3) -> dict[str, Any]:
    """The content of a random message: some of its fields by name."""
    fields = [f for f in fields_of(descriptor).values() if f.name != "includes"]
    if not fields:
        return {}
    chosen = draw(st.lists(st.sampled_from(fields), max_size=5, unique_by=_oneof_or_name))
    content: dict[str, Any] = {}
    for name, kind, field in chosen:
        if kind == "map":
            values = _values(map_value(field), depth)
            content[name] = draw(st.dictionaries(scalars(map_key(field)), values, max_size=3))
        else:
            values = _values(field, depth)
            content[name] = draw(st.lists(values, max_size=3) if kind == "list" else values)
    return content


def _oneof_or_name(field: Any) -> str:
    oneof = field.descriptor.containing_oneof
    return str(field.name if oneof is None else f"{oneof.name}|")


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is None:
        return scalars(field)
    return messages(inner_type(field), depth - 1) if depth else st.just({})


def grows(demo: Any) -> st.SearchStrategy[Any]:
    frozen = type(demo.Grow().to_frozen())
    return messages(demo.Grow.DESCRIPTOR).map(lambda content: frozen(**content))


@many
@given(data=st.data())
def test_defaults_spelled_out_make_no_difference_to_a_fingerprint(demo: Any, data: st.DataObject) -> None:
    grow = data.draw(grows(demo)).to_editable()
    assert fingerprint("grow", with_defaults(grow)) == fingerprint("grow", grow)


def words_of_bash(lines: list[str]) -> list[str]:
    """What lines are that are pasted into a shell; only bash reads the escapes of control characters."""
    if not any("$'" in line for line in lines):
        return [shlex.split(line)[0] for line in lines]
    text = "\n".join(f"printf '%s\\0' {line}" for line in lines)
    done = subprocess.run(["bash", "-c", text], capture_output=True, check=True)
    return done.stdout.decode(errors="surrogateescape").split("\0")[:-1]


@pytest.mark.processes
@many
@given(data=st.data())
def test_flat_output_is_a_list_of_overrides_for_the_same_config(
    composer: ComposeText, data: st.DataObject
) -> None:
    config = data.draw(grows(composer.demo))
    overrides = words_of_bash(flat_lines(config.to_editable()))
    done = composer("grow { }", *overrides)
    assert freeze(done.config) == config
    again = composer("grow { }", *done.overrides)
    assert (freeze(again.config), again.overrides, again.notes) == (config, done.overrides, ())


@many
@given(data=st.data())
def test_what_was_composed_composes_to_itself(composer: ComposeText, data: st.DataObject) -> None:
    config = data.draw(grows(composer.demo))
    text = prototxt.write_text(composer.demo.MetaCfg(grow=config.to_editable()))
    done = composer(text)
    assert freeze(done.config) == config
    assert prototxt.write_text(done.meta) == text


@many
@given(data=st.data())
def test_a_sketch_of_a_file_says_what_protobuf_reads(
    outline_text: str, demo: Any, data: st.DataObject
) -> None:
    message = data.draw(grows(demo)).to_editable()
    text = prototxt.write_text(message)
    assert read_sketch(text, read_outline(outline_text), ".demo.Grow", Path("/")) == sketch_of(message)


# ---- Whatever is typed --------------------------------------------------------------------------

NAMES = """
    seed lr wet name blob colour tags numbers weights plants labels prices beds lights soil watering tree
    helper Iterations depth kind how drip can rain note left branches next includes launcher local grow path
    0 1 2 -1 10 true "a.b" " "" I __class__ DESCRIPTOR \\"""
names = st.sampled_from(NAMES.split())
keys = st.lists(names | st.text(max_size=3), min_size=1, max_size=5).map(".".join)
VALUES = """
    NULL SELECT \\NULL 1 -1 0.1 1e999 nan -inf true RED -3 x clay clay.prototxt / .. /etc/passwd conf/base
    . \\x \\8"""
values = st.sampled_from(VALUES.split())
typed = st.one_of(
    st.builds("{}{}={}".format, st.sampled_from(["", "--", "I", "I."]), keys, values | st.text(max_size=5)),
    st.text(max_size=12),
)


def refusal(composer: ComposeText, text: str, *overrides: str) -> str:
    try:
        composer(text, *overrides)
    except ConfigError as problem:
        return str(problem)
    return ""


@settings(many, max_examples=1000)
@given(overrides=st.lists(typed, min_size=1, max_size=3))
@example(["\ud800=1"])
@example(["name=\ud800"])
@example(["labels.\ud800=x"])
@example(["labels.\udcff=x"])
@example(["I\udcff=x"])
@example(["Isoil=\udcff"])
@example(["Isoil=\0"])
@example(["tree" + ".left" * 5000 + ".size=1"])
@example(["I" + "left." * 5000 + "=clay"])
@example(["Itree" + ".left" * 5000 + "=clay"])
@example(["I" + ".x" * 5000 + "=clay"])
def test_any_text_composes_or_is_refused_in_one_line(composer: ComposeText, overrides: list[str]) -> None:
    assert refusal(composer, BASE, *overrides).isprintable()


WORDS = """
    grow { } seed : 1 - 1_0 lr 1e99 nan tags [ ] , ; < > 'a' "b labels key value plants soil depth beds # 9
    colour RED watering can drip includes path mount pick name \\ ٣ true lights"""
words = st.sampled_from(WORDS.split())
gaps = st.sampled_from([" ", "\n", ""])


@settings(many, max_examples=600)
@given(text=st.lists(words | gaps, max_size=25).map(" ".join) | st.text(max_size=20))
def test_any_file_is_read_or_refused_in_one_line(composer: ComposeText, text: str) -> None:
    assert refusal(composer, text).isprintable()


# ---- The canonical form -------------------------------------------------------------------------

POOL = [
    *["seed=1", "seed=2", "seed=NULL", "lr=.1", "lr=0.10", "name=x", "--name=y", "wet=1", "wet=true"],
    *["soil=NULL", "soil=SELECT", "soil.depth=1", "soil.depth=NULL", "soil.kind=k"],
    *["tags.-1=c", "tags.-1=d", "tags.0=c", "tags.1=d", "tags.2=e", "tags.3=f", "tags=NULL"],
    *["plants.-1.name=n", "plants.-1.soil.depth=2", "plants.-1=SELECT", "plants=NULL"],
    *[
        "plants.0.name=n",
        "plants.0.name=NULL",
        "plants.1.soil=NULL",
        "plants.1.soil.kind=k",
        "plants.2.height=1",
    ],
    *["plants.2.name=NULL", "plants.2=SELECT", "plants.3.soil.depth=4", "plants.3.name=n"],
    *[
        "labels.a=1",
        "labels.a=NULL",
        "labels=NULL",
        'labels."|"=2',
        'labels."a.b"=c',
        "prices.3=1",
        "prices.03=2",
    ],
    *["prices.3=NULL", "beds.x.name=n", "beds.x=NULL", "beds.x=SELECT", "beds.x.soil.depth=1", "beds=NULL"],
    *[
        "watering=NULL",
        "watering.drip.litres=1",
        "watering.drip=NULL",
        "watering.drip=SELECT",
        "watering.rain=2",
    ],
    *["watering.rain=NULL", "watering.can=SELECT", "watering.hours=3", "watering=SELECT"],
    *["tree.branches.-1.size=1", "tree.branches.0.left.size=2", "tree.branches.0.size=3", "tree=NULL"],
    *["Isoil=clay", "Isoil=loam", "I.soil=clay.prototxt", "I=whole", "Iplants.-1=rose", "Iplants.0=rose"],
    *["Iplants.0=tall", "watering.note=NULL"],
    *[
        "Iplants.2.soil=clay",
        "Iplants.1.soil=loam",
        "Ibeds.x=rose",
        "Ibeds.x.soil=clay",
        "Iwatering.drip=drip",
    ],
    *[
        "Iwatering.can=can",
        "Iwatering=watering",
        "Ihelper=helper",
        "Ihelper.soil=loam",
        "Ihelper.next=helper",
    ],
    *["helper=NULL", "helper.name=x", "numbers.-1=1", "numbers.0=01", "numbers.1=2"],
]


def _composed(composer: ComposeText, overrides: Sequence[str]) -> Composition | None:
    try:
        return composer(BASE, *overrides)
    except ConfigError:
        return None


def _bytes(done: Composition) -> bytes:
    return done.meta.SerializeToString(deterministic=True)


@settings(many, max_examples=800)
@given(data=st.data(), overrides=st.lists(st.sampled_from(POOL), min_size=1, max_size=6))
def test_one_canonical_form_is_one_config(
    composer: ComposeText, data: st.DataObject, overrides: list[str]
) -> None:
    done = _composed(composer, overrides)
    if done is None:
        return
    again = composer(BASE, *done.overrides)
    assert (again.overrides, again.notes, _bytes(again)) == (done.overrides, (), _bytes(done))
    other = _composed(composer, data.draw(st.permutations(overrides)))
    if other is not None and other.overrides == done.overrides:
        assert _bytes(other) == _bytes(done)


def test_no_two_short_lists_that_compose_differently_share_a_form(composer: ComposeText) -> None:
    known: dict[tuple[str, ...], bytes] = {}
    for length in (0, 1, 2):
        for overrides in itertools.product(POOL, repeat=length):
            done = _composed(composer, overrides)
            if done is not None:
                assert known.setdefault(done.overrides, _bytes(done)) == _bytes(done), overrides
