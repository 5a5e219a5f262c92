"""Conditions on the columns of a table, in Python's grammar: which rows fit.

lr < 0.1 and note.str.contains('x')  ─words─▶  w0 < 0.1 and w1('x')  ─ast─▶  pandas: a row yes, no or unknown

A row without a value (NaN is none) fits no comparison, nor its opposite, as in SQL; `is None` asks for it.
pandas' own `eval` does not do: what it makes of such rows depends on the column's type and on the operator.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from heyhi.errors import UsageError, did_you_mean
from heyhi.texts import first_line, on_one_line, some_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Fitting", "as_float", "fit", "no_column"]


class Fitting(NamedTuple):
    """The matching rows, and the number of rows in which a column of numbers had other values."""

    rows: list[bool]
    no_numbers: Mapping[str, int]


def fit(where: str, table: "pd.DataFrame") -> Fitting:
    """The rows that match a condition. Raises UsageError."""
    import pandas as pd

    try:
        tree, words = _parsed(where)
        evaluation = _Evaluation(table, words)
        holds = evaluation.truth(tree.body)
    except Exception as problem:  # whatever pandas makes of what a user typed
        told = first_line(str(problem))
        if isinstance(problem, SyntaxError):
            told = f"{problem.msg}; {_EXAMPLE}"
        raise UsageError(f"--where {where!r}: {told or type(problem).__name__}") from None
    if not isinstance(holds, pd.Series):
        raise UsageError(f"--where {where!r}: {_NO_CONDITION}")
    rows = [value is True for value in holds.reindex(table.index).astype(object)]
    return Fitting(rows, evaluation.no_numbers)


_EXAMPLE = "one is like lr < 0.1 and status == 'DONE'"
_NO_CONDITION = f"no condition; {_EXAMPLE}"


def no_column(name: str, names: Iterable[str]) -> str:
    """The error for an unknown column."""
    known = list(names)
    there_are = f"; there are {some_of(list(map(on_one_line, known)))}"
    return f"no column {name!r}{did_you_mean(name, known) or there_are}"


def as_float(value: Any) -> float:
    """A number as a float: infinite if it is too large for one."""
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


# ---- Words --------------------------------------------------------------------------------------

# A text, a name in backticks, a word that may have dots and numbers (tags.0), or pandas' and, or.
_TOKEN = re.compile(
    r"""((?<!\w)[rR]?(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"))|`[^`]*`|(?<![\w.])[^\W\d]\w*(?:\.\w+)*|[&|]""",
)
_OWN = {"and", "or", "not", "in", "is", "True", "False", "None"}
_OTHERS = {"true": "True", "false": "False", "&": " and ", "|": " or "}


def _parsed(where: str) -> tuple[ast.Expression, dict[str, str]]:
    """The condition, and its words by what stands for them in it: Python has no `tags.0 < lambda`."""
    words: dict[str, str] = {}
    prefix = "w"
    while prefix in where:
        prefix += "w"

    def replaced(match: "re.Match[str]") -> str:
        found = match[0]
        if match[1] is not None or found in _OWN:
            return found
        if found in _OTHERS:
            return _OTHERS[found]
        word = f"{prefix}{len(words)}"
        words[word] = found
        return word

    return ast.parse(_TOKEN.sub(replaced, where).strip(), mode="eval"), words


# ---- What it is for each row --------------------------------------------------------------------

_ARITHMETIC: dict[type[ast.operator | ast.unaryop], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_ORDER: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SAME = (ast.Eq, ast.Is, ast.In)
_IN = "a column may be in a list: note in ['a', 'b']; a text in a column's: note.str.contains('a')"


class _Evaluation(ast.NodeVisitor):
    """Makes of each part of a condition a column, or a single value."""

    def __init__(self, table: "pd.DataFrame", words: Mapping[str, str]) -> None:
        self._table = table
        self._words = words
        self.no_numbers: dict[str, int] = {}

    def truth(self, node: ast.AST) -> Any:
        """A part that is true, false or unknown."""
        import pandas as pd

        value = self.visit(node)
        if isinstance(value, bool):
            return value
        if isinstance(value, pd.Series) and pd.api.types.is_bool_dtype(value.dropna().infer_objects()):
            return value.astype("boolean")
        raise ValueError(_NO_CONDITION)

    def _number(self, node: ast.AST) -> Any:
        """A part that is taken for numbers: in a column of several types, what is none is no value."""
        return self._as_numbers(self.visit(node))

    def _as_numbers(self, value: Any) -> Any:
        import pandas as pd

        if not isinstance(value, pd.Series) or value.dtype != object:
            return value
        texts = int(value.map(lambda one: isinstance(one, str)).sum())
        if texts:
            self.no_numbers[str(value.name)] = texts
        numbers = [as_float(one) if isinstance(one, (int, float)) else None for one in value]
        return pd.Series(numbers, value.index, dtype="float64", name=value.name)

    # ---- Its parts

    def generic_visit(self, node: ast.AST) -> Any:
        """All that is not below."""
        raise ValueError(f"{type(node).__name__} is not understood; {_NO_CONDITION}")

    def visit_Constant(self, node: ast.Constant) -> Any:
        """A number, a text, True, False or None."""
        return node.value

    def visit_List(self, node: ast.List | ast.Tuple) -> Any:
        """Several of them."""
        return [self.visit(one) for one in node.elts]

    visit_Tuple = visit_List  # noqa: N815  (so that `ast` finds it)

    def visit_Name(self, node: ast.Name) -> Any:
        """A column, or something of pandas that it has: note.str.contains."""
        word = self._words[node.id]
        name = word.strip("`")
        for column in sorted(map(str, self._table.columns), key=len, reverse=True):
            if name == column:
                return self._table[column]
            if name.startswith(f"{column}.") and word == name:
                return operator.attrgetter(name[len(column) + 1 :])(self._table[column])
        raise ValueError(no_column(name, self._table.columns))

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        """Something of pandas that a part has: (a - b).abs."""
        return operator.attrgetter(self._words.get(node.attr, node.attr))(self.visit(node.value))

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        """An item of a value: note.str[0]."""
        return self.visit(node.value)[self.visit(node.slice)]

    def visit_Call(self, node: ast.Call) -> Any:
        """A method of pandas."""
        named = {self._words[one.arg]: self.visit(one.value) for one in node.keywords if one.arg}
        return self.visit(node.func)(*map(self.visit, node.args), **named)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        """Arithmetic."""
        return _known(_ARITHMETIC, node.op)(self._number(node.left), self._number(node.right))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        """The opposite, or arithmetic."""
        if isinstance(node.op, (ast.Not, ast.Invert)):
            return _opposite(self.truth(node.operand))
        return _known(_ARITHMETIC, node.op)(self._number(node.operand))

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        """And, or."""
        combine = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        return reduce(combine, map(self.truth, node.values))

    def visit_Compare(self, node: ast.Compare) -> Any:
        """Comparisons, also several in a row: 0 < lr < 1."""
        values = [self.visit(one) for one in (node.left, *node.comparators)]
        compared = map(self._compared, node.ops, values, values[1:])
        return reduce(operator.and_, compared)

    def _compared(self, op: ast.cmpop, left: Any, right: Any) -> Any:
        if type(op) in _ORDER:
            left, right = self._as_numbers(left), self._as_numbers(right)
            return _where_known(_ORDER[type(op)](left, right), left, right)
        if isinstance(op, (ast.In, ast.NotIn)):
            if not isinstance(right, list):
                raise ValueError(_IN)
            holds = reduce(operator.or_, [_equal(left, one) for one in right], False)
        else:
            holds = _equal(left, right)
        return holds if isinstance(op, _SAME) else _opposite(holds)


def _known(table: Mapping[Any, Callable[..., Any]], op: ast.AST) -> Callable[..., Any]:
    if type(op) not in table:
        raise ValueError(f"{type(op).__name__} is not understood; {_NO_CONDITION}")
    return table[type(op)]


def _where_known(holds: Any, *compared: Any) -> Any:
    """The answer of a comparison; unknown in the rows in which one side has no value."""
    import pandas as pd

    if not isinstance(holds, pd.Series):
        return bool(holds)
    missing = reduce(operator.or_, [one.isna() for one in compared if isinstance(one, pd.Series)])
    return holds.astype("boolean").mask(missing)


def _opposite(holds: Any) -> Any:
    return not holds if isinstance(holds, bool) else ~holds


def _equal(left: Any, right: Any) -> Any:
    if right is None:
        return left.isna() if hasattr(left, "isna") else left is None
    return _where_known(left == right, left, right)
