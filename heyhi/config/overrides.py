"""The override language, as text: `key=value`.

    optimizer.lr=0.1        sets a field              key ("optimizer", "lr")
    tags.-1=new             appends to a list         key ("tags", "-1")
    env."a.b"=1             a map key that needs quotes (a JSON string)
    optimizer=NULL          clears
    encoder.mlp=SELECT      chooses a message, and leaves it as it is
    Ilauncher=big           includes a config; also `I.launcher=big`, and `I=big` for the task itself

`fields` and `composer` decide what needs the schema (is `Iterations` a field?).
"""

import re
from typing import NamedTuple

from heyhi.errors import ConfigError
from heyhi.texts import cut

__all__ = [
    "NULL",
    "SELECT",
    "Override",
    "escape_word",
    "join_key",
    "parse_override",
    "split_key",
    "unescape_word",
]

NULL = "NULL"
SELECT = "SELECT"

_LONGEST_SHOWN = 200
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_KEY = re.compile(rf'((?:{_QUOTED}|[^="])*)=', re.DOTALL)
_PART = re.compile(rf'({_QUOTED}|[^."]+)(?:\.|\Z)', re.DOTALL)
_BARE_PART = re.compile(r"[A-Za-z0-9_+-]+\Z")
_BARE_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*\Z")
_ESCAPED_WORD = re.compile(r"\\+(?:NULL|SELECT)\Z")


class Override(NamedTuple):
    """A change of a config: `key=text`, and the text as typed."""

    key: str
    text: str
    typed: str

    @property
    def where(self) -> str:
        """The override as typed, on one line, for errors."""
        return f"override {cut(self.typed, _LONGEST_SHOWN)!r}"


def parse_override(typed: str) -> Override:
    """Split `--key=value` at its first `=` outside quotes; leading dashes do not count."""
    stripped = typed.lstrip("-")
    key, equals, text = stripped.partition("=")
    if '"' in key:
        match = _KEY.match(stripped)
        if not match:
            raise ConfigError(Override("", "", typed).where, "the quotes in the key do not end before a `=`")
        key, text = match[1], stripped[match.end() :]
    if not key or not equals:
        raise ConfigError(Override("", "", typed).where, "expected key=value")
    return Override(key, text, typed)


def split_key(key: str) -> tuple[str, ...]:
    """The parts of a dotted key, quotes undone; raises ValueError with what is wrong."""
    if '"' not in key:
        parts = key.split(".")
        if not all(parts):
            raise ValueError(f"bad key {key!r}: a name is missing")
        return tuple(parts)
    parts = []
    position = 0
    while position < len(key):
        match = _PART.match(key, position)
        if not match:
            raise ValueError(f"bad key {key!r}: expected names with dots between them")
        parts.append(_unquote(match[1]))
        position = match.end()
    if key.endswith("."):
        raise ValueError(f"bad key {key!r}: a name is missing")
    return tuple(parts)


def join_key(parts: tuple[str, ...]) -> str:
    """The dotted key of these parts, quoted where needed: the inverse of `split_key`."""
    key = ".".join(parts)
    if _BARE_KEY.match(key) and key.count(".") == len(parts) - 1:
        return key
    return ".".join(part if _BARE_PART.match(part) else _quote(part) for part in parts)


def escape_word(text: str) -> str:
    r"""A text as an override's value: `NULL`, `SELECT` and their escaped forms gain a backslash."""
    return "\\" + text if text in (NULL, SELECT) or _ESCAPED_WORD.match(text) else text


def unescape_word(text: str) -> str:
    r"""The text an override's value stands for: `\NULL` is the text NULL, all else is itself."""
    return text[1:] if _ESCAPED_WORD.match(text) else text


def _quote(part: str) -> str:
    import json

    return json.dumps(part, ensure_ascii=not part.isprintable())


def _unquote(part: str) -> str:
    if not part.startswith('"'):
        return part
    import json

    try:
        name = str(json.loads(part, strict=False))
        name.encode()  # half a surrogate pair is no text
        return name
    except ValueError:
        raise ValueError(f"bad quoted name {part} in the key") from None
