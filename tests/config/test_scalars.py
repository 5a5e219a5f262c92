import math
import re
from typing import Any

import pytest

from heyhi.config.scalars import Scalar, python_value, scalar_of, shortest_float


def scalar_type(demo: Any, name: str) -> Scalar:
    return scalar_of(demo.Grow.DESCRIPTOR.fields_by_name[name])


# field: text -> canonical text; what is refused has the message instead
TEXTS: dict[str, dict[str, str]] = {
    "seed": {  # int32
        "1": "1",
        "-1": "-1",
        "+5": "5",
        " 7 ": "7",
        "007": "7",
        "-0": "0",
        "2147483647": "2147483647",
        "-2147483648": "-2147483648",
        "2147483648": "! 2147483648 is out of range: int32 goes from -2147483648 to 2147483647",
        "-2147483649": "! -2147483649 is out of range: int32 goes from -2147483648 to 2147483647",
        "": "! expected a whole number (int32), not ''",
        "5.0": "! expected a whole number (int32), not '5.0'",
        "1e3": "! expected a whole number (int32), not '1e3'",
        "0x10": "! expected a whole number (int32), not '0x10'",
        "1_000": "! expected a whole number (int32), not '1_000'",
        "\u0663": "! expected a whole number (int32), not '\u0663'",
        "SELECT": "! expected a whole number (int32), not 'SELECT'",
        "true": "! expected a whole number (int32), not 'true'",
        "9" * 5000: f"! {'9' * 57}... is out of range: int32 goes from -2147483648 to 2147483647",
    },
    "big": {  # int64
        "9223372036854775807": "9223372036854775807",
        "-9223372036854775808": "-9223372036854775808",
        "9223372036854775808": "! 9223372036854775808 is out of range: "
        "int64 goes from -9223372036854775808 to 9223372036854775807",
    },
    "count": {  # uint32
        "0": "0",
        "4294967295": "4294967295",
        "-1": "! -1 is out of range: uint32 goes from 0 to 4294967295",
        "4294967296": "! 4294967296 is out of range: uint32 goes from 0 to 4294967295",
    },
    "total": {  # uint64
        "18446744073709551615": "18446744073709551615",
        "-1": "! -1 is out of range: uint64 goes from 0 to 18446744073709551615",
    },
    "shift": {"-2147483648": "-2147483648", "x": "! expected a whole number (sint32), not 'x'"},
    "far": {
        "-9223372036854775808": "-9223372036854775808",
        "x": "! expected a whole number (sint64), not 'x'",
    },
    "fixed": {"4294967295": "4294967295", "x": "! expected a whole number (fixed32), not 'x'"},
    "long_fixed": {
        "18446744073709551615": "18446744073709551615",
        "x": "! expected a whole number (fixed64), not 'x'",
    },
    "signed_fixed": {"-2147483648": "-2147483648", "x": "! expected a whole number (sfixed32), not 'x'"},
    "long_signed_fixed": {
        "-9223372036854775808": "-9223372036854775808",
        "x": "! expected a whole number (sfixed64), not 'x'",
    },
    "lr": {  # float
        ".1": "0.1",
        "0.10": "0.1",
        "1e-1": "0.1",
        " 0.1 ": "0.1",
        "0.10000000149011612": "0.1",
        "1": "1.0",
        "1.": "1.0",
        "+1": "1.0",
        "-0": "-0.0",
        "1e-5": "1e-05",
        "16777217": "16777216.0",
        "3.4028235e38": "3.4028235e+38",
        "1e-45": "1e-45",
        "inf": "inf",
        "-Infinity": "-inf",
        "nan": "nan",
        "-nan": "nan",
        "3.5e38": "! 3.5e38 is too large for a float",
        "-1e39": "! -1e39 is too large for a float",
        "1e-60": "! 1e-60 is too small for a float: it would become 0",
        "0e99": "0.0",
        "1_0.0": "! expected a number (float), not '1_0.0'",
        "1f": "! expected a number (float), not '1f'",
        "0x1p3": "! expected a number (float), not '0x1p3'",
        ".": "! expected a number (float), not '.'",
        "": "! expected a number (float), not ''",
    },
    "precise": {  # double
        "0.1": "0.1",
        "0.10000000149011612": "0.10000000149011612",
        "1e308": "1e+308",
        "5e-324": "5e-324",
        "1e400": "! 1e400 is too large for a double",
        "1e-400": "! 1e-400 is too small for a double: it would become 0",
    },
    "wet": {  # bool
        "true": "true",
        "True": "true",
        "1": "true",
        "FALSE": "false",
        "0": "false",
        "yes": "! expected true or false, not 'yes'",
        "": "! expected true or false, not ''",
        "2": "! expected true or false, not '2'",
    },
    "name": {  # string
        "": "",
        "a=b": "a=b",
        ' "quoted" ': ' "quoted" ',
        "two\nlines": "two\nlines",
        "é\u2028": "é\u2028",
        "SELECT": "\\SELECT",
        "\\NULL": "\\NULL",
        "\\\\NULL": "\\\\NULL",
        "\\n": "\\n",
        "\ud800": "! expected valid unicode text, not '\\ud800'",
    },
    "blob": {  # bytes
        "abc": "abc",
        "": "",
        "\\xff\\x0": "\\377\\000",
        "\\101\\0": "A\\000",
        "\\n\\t\\\\\\'\\\"\\?": "\\n\\t\\\\\\'\\\"?",
        "é": "\\303\\251",
        "SELECT": "\\SELECT",
        "\\NULL": "\\NULL",
        "\\d": "! expected bytes, escaped as in C: '\\\\d' is no escape",
        "\\777": "! expected bytes, escaped as in C: '\\\\777' is no escape",
        "\\xg": "! expected bytes, escaped as in C: '\\\\x' is no escape",
        "end\\": "! expected bytes, escaped as in C: '\\\\' is no escape",
        "\udcff": "! expected valid unicode text, not '\\udcff'",
    },
    "colour": {  # enum
        "RED": "RED",
        "2": "GREEN",
        "-3": "ODD",
        "ODD": "ODD",
        "0": "NONE",
        "red": "! expected one of NONE, RED, GREEN, ODD, not 'red'",
        "GREN": "! expected one of NONE, RED, GREEN, ODD, not 'GREN'; did you mean 'GREEN'?",
        "9": "! expected one of NONE, RED, GREEN, ODD, not '9'",
        "1.0": "! expected one of NONE, RED, GREEN, ODD, not '1.0'",
    },
}
_CASES = [(name, text, want) for name, texts in TEXTS.items() for text, want in texts.items()]


@pytest.mark.parametrize(("name", "text", "want"), _CASES, ids=[f"{n}-{t[:30]!r}" for n, t, _ in _CASES])
def test_a_scalar_is_read_strictly_and_written_in_one_way(demo: Any, name: str, text: str, want: str) -> None:
    scalar = scalar_type(demo, name)
    if want.startswith("! "):
        with pytest.raises(ValueError, match=f"^{re.escape(want[2:])}$"):
            scalar.read(text)
    else:
        value = scalar.read(text)
        assert scalar.write(value) == want
        one, again = demo.Grow(**{name: value}), demo.Grow(**{name: scalar.read(want)})
        assert one.SerializeToString() == again.SerializeToString()
        assert scalar.write(getattr(one, name)) == want


def test_every_scalar_type_is_in_the_table(demo: Any) -> None:
    in_table = {demo.Grow.DESCRIPTOR.fields_by_name[name].type for name in TEXTS}
    group_and_message = {10, 11}
    assert in_table == set(range(1, 19)) - group_and_message


FLOATS = {0.1: 0.1, 1e-45: 1e-45, 16777216.0: 16777216.0, 1 / 3: 0.33333334, math.inf: math.inf, -0.0: -0.0}


@pytest.mark.parametrize("value", FLOATS)
def test_a_float_has_the_fewest_digits_that_tell_it(demo: Any, value: float) -> None:
    stored = demo.Grow(lr=value).lr
    assert repr(shortest_float(stored)) == repr(FLOATS[value])


@pytest.mark.parametrize("name", ["lr", "precise"])
def test_what_is_no_number_is_stored_in_one_way(demo: Any, name: str) -> None:
    value = scalar_type(demo, name).read("-nan")
    one, other = demo.Grow(**{name: math.nan}), demo.Grow(**{name: value})
    assert one.SerializeToString() == other.SerializeToString()


@pytest.mark.parametrize(
    ("name", "stored", "value"),
    [("colour", -3, "ODD"), ("colour", 9, 9), ("lr", 0.10000000149011612, 0.1), ("precise", 0.1, 0.1)],
)
def test_a_task_sees_the_names_of_enums_and_short_floats(
    demo: Any, name: str, stored: Any, value: Any
) -> None:
    assert python_value(demo.Grow.DESCRIPTOR.fields_by_name[name], stored) == value
