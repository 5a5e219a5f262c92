"""The language of configs: text -> message -> frozen config.

    x.proto    ─schema, stubs─▶ generated modules; outline, descriptors: schemas as data, for looking
    c.prototxt ─search, includes, prototxt─▶ messages ─┐
    key=value  ─overrides, canonical, fields, scalars──┴─composer─▶ message ─frozen─▶ what a task gets

views: other forms of a config; explain: `--help-cfg` and `--explain`; notebooks: its HTML.
Generated modules and pickles name this package, so it hands on what they need for good.
"""

from typing import TYPE_CHECKING

from heyhi import hand_on

# fmt: off
# isort: off
if TYPE_CHECKING:
    from heyhi.config.composer import Composer, Composition, compose
    from heyhi.config.descriptors import describe, read_schemas, types_of
    from heyhi.config.fields import fields_of, inner_type, type_of
    from heyhi.config.frozen import Frozen, _ReadOnlyMap, _thaw, add_methods, editable, freeze, frozen_class
    from heyhi.config.outline import OUTLINE, Field, Outline, read_outline
    from heyhi.config.overrides import (
        NULL,
        SELECT,
        escape_word,
        join_key,
        parse_override,
        split_key,
        unescape_word,
    )
    from heyhi.config.scalars import write_bytes
    from heyhi.config.schema import conf_spec, generate, load_message_types, load_messages
    from heyhi.config.search import INCLUDES, SUFFIX, Search, find_base
    from heyhi.config.views import LAUNCHER

__getattr__ = hand_on(
    __name__,
    whole="explain fields notebooks prototxt views",
    composer="Composer Composition compose",
    descriptors="describe read_schemas types_of",
    fields="fields_of inner_type type_of",
    frozen="Frozen _ReadOnlyMap _thaw add_methods editable freeze frozen_class",
    outline="Field OUTLINE Outline read_outline",
    overrides="NULL SELECT escape_word join_key parse_override split_key unescape_word",
    scalars="write_bytes",
    schema="conf_spec generate load_message_types load_messages",
    search="INCLUDES SUFFIX Search find_base",
    views="LAUNCHER",
)
# fmt: on
