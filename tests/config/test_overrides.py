import re

import pytest

from heyhi.config.overrides import escape_word, join_key, parse_override, split_key, unescape_word
from heyhi.errors import ConfigError

SPLIT = {
    "lr=0.1": ("lr", "0.1"),
    "--lr=0.1": ("lr", "0.1"),
    "-lr=0.1": ("lr", "0.1"),
    "a.b.c=1": ("a.b.c", "1"),
    "name=": ("name", ""),
    "name=a=b": ("name", "a=b"),
    "name=--x": ("name", "--x"),
    "name= two words ": ("name", " two words "),
    "name=two\nlines": ("name", "two\nlines"),
    "tags.-1=x": ("tags.-1", "x"),
    'labels."a=b"=c': ('labels."a=b"', "c"),
    'labels."a\\"=b"=c': ('labels."a\\"=b"', "c"),
    'name="quoted"': ("name", '"quoted"'),
    "Isoil=clay": ("Isoil", "clay"),
    "I=clay": ("I", "clay"),
}


@pytest.mark.parametrize("typed", SPLIT)
def test_an_override_is_split_at_its_first_equals_sign_outside_quotes(typed: str) -> None:
    override = parse_override(typed)
    assert (override.key, override.text) == SPLIT[typed]
    assert override.typed == typed


BAD = {
    "lr": "override 'lr': expected key=value",
    "--lr": "override '--lr': expected key=value",
    "": "override '': expected key=value",
    "--": "override '--': expected key=value",
    "=5": "override '=5': expected key=value",
    'labels."a=b': "override 'labels.\"a=b': the quotes in the key do not end before a `=`",
    "two\nlines": "override 'two\\nlines': expected key=value",
}


@pytest.mark.parametrize("typed", BAD)
def test_what_is_no_override_is_shown_as_typed(typed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_override(typed)
    assert str(caught.value) == BAD[typed]


def test_a_long_override_is_shown_by_its_beginning() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_override("x" * 10_000)
    assert str(caught.value) == f"override '{'x' * 197}...': expected key=value"


KEYS = {
    "a": ("a",),
    "a.b.0": ("a", "b", "0"),
    "tags.-1": ("tags", "-1"),
    'labels."a.b"': ("labels", "a.b"),
    'labels."a.b".c': ("labels", "a.b", "c"),
    'labels."=\\""': ("labels", '="'),
    'labels.""': ("labels", ""),
    'labels."a b"': ("labels", "a b"),
    'labels."\\n"': ("labels", "\n"),
    'labels."\\u2028"': ("labels", "\u2028"),
    'labels."é"': ("labels", "é"),
}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_has_parts_and_they_make_the_key_again(key: str) -> None:
    assert split_key(key) == KEYS[key]
    assert join_key(KEYS[key]) == key


BAD_KEYS = {
    "": "bad key '': a name is missing",
    "a..b": "bad key 'a..b': a name is missing",
    ".a": "bad key '.a': a name is missing",
    "a.": "bad key 'a.': a name is missing",
    '"a".': "bad key '\"a\".': a name is missing",
    'a."b"c': "bad key 'a.\"b\"c': expected names with dots between them",
    'a"b': "bad key 'a\"b': expected names with dots between them",
    '"\\ud800"': 'bad quoted name "\\ud800" in the key',
    '"\\x"': 'bad quoted name "\\x" in the key',
}


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_says_what_is_wrong(key: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(BAD_KEYS[key])}$"):
        split_key(key)


WORDS = {
    "NULL": "\\NULL",
    "SELECT": "\\SELECT",
    "\\NULL": "\\\\NULL",
    "\\\\SELECT": "\\\\\\SELECT",
    "null": "null",
    "NULL ": "NULL ",
    "\\n": "\\n",
    "": "",
}


@pytest.mark.parametrize("text", WORDS)
def test_a_text_that_reads_like_a_word_of_the_language_has_an_escape(text: str) -> None:
    assert escape_word(text) == WORDS[text]
    assert unescape_word(WORDS[text]) == text
