"""Recognise variables that hold secrets: HeyHi writes to files only that they were set.

    HF_TOKEN=hf_ab12   INDEX=https://me:pw@pypi.acme.org        by its name, by its value

in memory    {"HF_TOKEN": "hf_ab12", "OMP_NUM_THREADS": "1", "LANG": None}
  kept       {"HF_TOKEN": True,      "OMP_NUM_THREADS": "1", "LANG": None}      orders, heyhi.json
  values     {"HF_TOKEN": "hf_ab12"}                                            handed to the job's process

None: the variable was unset. `[tool.heyhi]` of a project adds names (`secrets`) and removes names
(`not_secrets`).

The rules rather take too many: a variable that is no secret has to be set for a replay, once; a secret that
they miss is in a file that others can read.
"""

import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from heyhi.errors import ProjectError
from heyhi.project import Project

__all__ = ["HIDDEN", "Kept", "Secrets"]

#: What is shown in place of a secret.
HIDDEN = "***"
#: A variable as it is kept: its value; None: it was unset; True: it was set, to a secret.
Kept = str | bool | None

# A name is secret that has one of these anywhere, ...
_PARTS = (
    *("SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "WEBHOOK", "DATABASE_URL"),
    *("CONNECTION_STRING", "CONNSTR"),
)
# ... one of whose words (parted by `_`, digits at its end left out) is one of these, ...
_WORDS = {"AUTH", "AUTHORIZATION", "BEARER", "COOKIE", "COOKIES", "CREDS", "JWT", "PAT", "PRIVATE", "TOKENS"}
# ... or ends in one of these, and is no word of these.
_ENDS = ("KEY", "KEYS", "TOKEN", "PASS", "PWD", "DSN")
_NO_WORDS = {
    *("MONKEY", "DONKEY", "TURKEY", "HOCKEY", "JOCKEY", "WHISKEY", "HOTKEY", "HOTKEYS", "MONKEYS"),
    *("BYPASS", "COMPASS", "ENCOMPASS", "SURPASS", "TRESPASS"),
}
_NO_NAMES = {"PWD", "OLDPWD", "SSH_AUTH_SOCK"}  # folders, and the path of a socket

# A value is secret that holds one of these.
_VALUES = re.compile(
    r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"  # https://user:password@host
    r"|https?://[^/\s:@]+@"  # https://token@host
    r"|(^|[?&;\s])(sig|signature|token|access_token|api_?key|password|passwd|pwd|secret|accountkey)=[^&;\s]"
    r"|(?<![\w./-])(hf|gh[pousr])_[a-z0-9]{16,}(?![\w./-])"
    r"|(?<![\w./-])(github_pat_|glpat-|sk-|xox[abprs]-|AIza)(?=[\w-]*\d)[\w-]{16,}(?![\w./-])"
    r"|(?<![\w./-])(AKIA[0-9A-Z]{16}|eyJ[\w-]{8,}\.eyJ)"
    r"|\b(bearer|basic)\s+[\w.~+/=-]{16,}"
    r"|--?(api-?key|token|password|passwd|secret)[=\s][^\s-]"
    r"|[\"'](api_?key|token|access_token|password|passwd|secret|private_key|client_secret)[\"']\s*:\s*[\"'][^\"']"
    r"|://hooks\.slack\.com/services/"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
_ASSIGNED = re.compile(r"\b([A-Za-z_]\w*)(\+?=)(\$?'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s;&|]+)")
# Where bash takes assignments: at the start of a command, and after these words.
_COMMAND = re.compile(
    r"(?:^|(?<!=)[;&|({]|\b(?:export|declare|typeset|local|readonly|env|then|do|else)\s)[^\S\n]*"
    rf"(?:-\w+\s+)*((?:{_ASSIGNED.pattern}[^\S\n]*)+)",
    re.MULTILINE,
)
_NO_VALUES = {"true", "false", "none", "null"}  # of a switch whose name looks secret
_LONG_ENOUGH = 6  # characters of a secret that is looked for in other values
_SHORTEST = 4  # characters of a value that is looked for in texts: shorter ones are words like any other


class Secrets(NamedTuple):
    """The rules of a project: the usual ones, with names that it adds and names that it removes.

    These are patterns (`ACME_*`), in any case; a name that is added and removed is no secret.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @classmethod
    def of(cls, project: Project) -> "Secrets":
        """The rules of a project. Raises ProjectError for settings that are no names."""
        added, removed = (_names(project, name) for name in ("secrets", "not_secrets"))
        return cls(added, removed)

    @classmethod
    def tolerant(cls, project: Project) -> "Secrets":
        """The rules of a project, to look at its runs by; the usual ones, if its settings cannot be read."""
        try:
            return cls.of(project)
        except ProjectError:
            return cls()

    def is_secret(self, name: str, value: str = "") -> bool:
        """True if a variable holds a secret, by its name or by its value."""
        upper = name.upper()
        if any(fnmatchcase(upper, pattern) for pattern in self.removed):
            return False
        if any(fnmatchcase(upper, pattern) for pattern in self.added):
            return True
        return _is_name_secret(name, value) or _VALUES.search(value) is not None

    def kept(self, environment: Mapping[str, Any], known: Iterable[str] = ()) -> dict[str, Kept]:
        """An environment as files and people may have it; `known` are secrets that others have."""
        secret = self._secret_in(environment, known)
        # A value that is no text is one of a file that somebody has edited.
        return {
            name: value if value is None or value is True else True if name in secret else str(value)
            for name, value in environment.items()
        }

    def _secret_in(self, environment: Mapping[str, Any], known: Iterable[str] = ()) -> set[str]:
        """The names of variables that hold a secret: one of their own, or that of another one."""
        texts = {name: str(value) for name, value in environment.items() if value and value is not True}
        own = {name for name, text in texts.items() if self.is_secret(name, text)}
        values = {value for value in (*known, *(texts[name] for name in own)) if len(value) >= _LONG_ENOUGH}
        forms = [form for value in values for form in _forms(value)]
        return own | {name for name, text in texts.items() if any(form in text for form in forms)}

    def values(self, environment: Mapping[str, str | None], known: Iterable[str] = ()) -> dict[str, str]:
        """The secrets of an environment, to be handed on from process to process; `known` as of `kept`."""
        secret = self._secret_in(environment, known)
        return {name: value for name, value in environment.items() if value and name in secret}

    def hide(self, text: str, known: Iterable[str] = ()) -> str:
        """A text without the secrets that it assigns, those in its URLs, and the `known` ones."""
        for value in sorted({one for one in known if len(one) >= _SHORTEST}, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        return _IN_URL.sub(HIDDEN, _ASSIGNED.sub(self._hidden, text))

    def _hidden(self, match: re.Match[str]) -> str:
        name, sign, value = match.groups()
        return f"{name}{sign}{HIDDEN}" if self.is_secret(name, value) else match[0]

    def assigned(self, text: str) -> list[str]:
        """The secrets that a text assigns to variables."""
        found = (match.groups() for match in _ASSIGNED.finditer(text))
        return [value.strip("$'\"") for name, _, value in found if self.is_secret(name, value)]

    def written_in(self, text: str, known: Iterable[str] = ()) -> list[int]:
        """The lines of a bash script, counted from 1, that assign a secret as it is, or have a `known` one.

        Also in functions that are never called; `$(cat FILE)` and `$NAME` are no secrets.
        """
        code = text.replace("\\\n", "  ")  # a line that is continued; all stays in its place
        found = {
            command.start(1) + one.start()
            for command in _COMMAND.finditer(code)
            for one in _ASSIGNED.finditer(command[1])
            if self._is_literal_secret(one[1], one[3])
        }
        for value in known:
            if len(value) >= _SHORTEST and value.lower() not in _NO_VALUES:
                found |= {match.start() for match in re.finditer(re.escape(value), text)}
        return sorted({text.count("\n", 0, place) + 1 for place in found})

    def _is_literal_secret(self, name: str, quoted: str) -> bool:
        value = quoted.removeprefix("$").strip("'\"") if quoted.startswith("$'") else quoted.strip("'\"")
        if not quoted.startswith(("'", "$'")) and re.search(r"[$`]|^\(", value):
            return False  # from elsewhere, or an array
        return len(value) >= _SHORTEST and value.lower() not in _NO_VALUES and self.is_secret(name, value)


def _forms(value: str) -> Iterator[str]:
    """What another variable may hold of a secret: the value, and the same in base64, after any other text."""
    yield value
    data = os.fsencode(value)
    for before in range(3):
        text = b64encode(bytes(before) + data).decode()
        yield text[-(-before * 4 // 3) : (before + len(data)) * 4 // 3]


def _is_name_secret(name: str, value: str) -> bool:
    if name in _NO_NAMES:
        return False
    upper = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()  # apiKey
    if any(part in upper for part in _PARTS):
        return True
    words = {word.rstrip("0123456789") for word in re.split(r"[^A-Z0-9]+", upper)} - _NO_WORDS
    if words & _WORDS == {"TOKENS"} and not any(word.endswith(_ENDS) for word in words):
        return not value.isdecimal()  # MAX_TOKENS=4096
    return bool(words & _WORDS) or any(word.endswith(_ENDS) for word in words)


def _names(project: Project, setting: str) -> tuple[str, ...]:
    found = project.settings.get(setting, [])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ProjectError(
            f"{project.root / 'pyproject.toml'}: [tool.heyhi] {setting}: "
            f'expected ["A_NAME", "MORE_*"], not {found!r}'
        )
    return tuple(name.upper() for name in found)
