"""The language of configs: text -> message -> frozen config.

.proto ─schema, stubs─▶ generated modules      c.prototxt ─search, includes, prototxt─▶ messages
key=value ─overrides, canonical, fields─▶ a field set      ─composer─▶ message ─frozen─▶ what a task gets

Generated modules and pickles name this package: what they need of it is handed on for good.
"""

from typing import TYPE_CHECKING

from heyhi import hand_on

if TYPE_CHECKING:
    from heyhi.config.frozen import Frozen, _ReadOnlyMap, _thaw, add_methods, frozen_class

_FROZEN = ["Frozen", "_ReadOnlyMap", "_thaw", "add_methods", "frozen_class"]
__getattr__ = hand_on(__name__, {"frozen": _FROZEN})
