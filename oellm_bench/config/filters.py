"""Filters of a sweep: expressions over a point's values, read and evaluated here; nothing in them is ever run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from oellm_bench.errors import ConfigError, Problem

Lookup = Callable[[str], Any]
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, many: one in many,
    ast.NotIn: lambda one, many: one not in many,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_READABLE = (
    ast.BoolOp,
    ast.Compare,
    ast.UnaryOp,
    ast.BinOp,
    ast.List,
    ast.Tuple,
    ast.Constant,
    ast.Name,
    ast.Attribute,
)
_OPERATORS = (*_ARITHMETIC, ast.UAdd, ast.USub, ast.Not)
_WRITE = "write names, numbers, texts, and, or, not, in, == != < <= > >=, + - * / // %"


@dataclass(frozen=True)
class Filter:
    """An expression that a point has to fulfil; `where` is its key."""

    text: str
    where: str
    tree: ast.expr

    def holds(self, lookup: Lookup) -> bool:
        """Tell whether a point stays. `lookup` returns the value of a name, or raises KeyError with a hint.

        Raises ConfigError for names without a value and for what cannot be compared or is neither true nor false.
        """
        try:
            found = _value(self.tree, lookup)
        except KeyError as err:
            raise self._wrong(f"'{err.args[0]}' has no value", str(err.args[1])) from err
        except (TypeError, ArithmeticError) as err:
            raise self._wrong(str(err), "compare values of one kind") from err
        except RecursionError as err:
            raise self._wrong("it is nested too deeply", "split it over groups") from err
        if not isinstance(found, bool):
            raise self._wrong(f"it gives {found!r}, neither true nor false", "compare it with something")
        return found

    def _wrong(self, what: str, fix: str) -> ConfigError:
        return ConfigError(Problem(what=f"filter '{self.text}': {what}", where=self.where, fix=fix))


def read_filter(text: str, where: str) -> Filter:
    """Read a filter. Raises ConfigError for one that is no expression, or that asks for more than comparisons."""
    try:
        listed = ast.parse(f"[{text}\n]", mode="eval").body  # in brackets, since it may have several lines
        if not (isinstance(listed, ast.List) and len(listed.elts) == 1):
            raise ValueError("it is no single expression")
        tree = listed.elts[0]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        what = f"filter '{text}' cannot be read ({getattr(err, 'msg', err)})"
        raise ConfigError(Problem(what=what, where=where, fix=_WRITE)) from err
    for node in ast.walk(tree):
        unreadable = isinstance(node, ast.expr) and not isinstance(node, _READABLE)
        identity = isinstance(node, ast.Is | ast.IsNot)
        odd = isinstance(node, ast.operator | ast.unaryop) and not isinstance(node, _OPERATORS)
        if unreadable or odd or identity:
            what = f"filter '{text}': {_name_of(node)} cannot stand in it"
            raise ConfigError(Problem(what=what, where=where, fix=_WRITE))
    return Filter(text=text, where=where, tree=tree)


def _name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return f"a call ('{ast.unparse(node)}')"
    if isinstance(node, ast.Is | ast.IsNot):
        return "'is'"
    return f"'{ast.unparse(node)}'" if isinstance(node, ast.expr) else "'**' or an operator for bits"


def _value(node: ast.expr, lookup: Lookup) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name() | ast.Attribute():
            name = _dotted(node)
            return _CONSTANTS[name] if name in _CONSTANTS else lookup(name)
        case ast.List() | ast.Tuple():
            return [_value(item, lookup) for item in node.elts]
        case ast.BoolOp():
            return _joined(node, lookup)
        case ast.UnaryOp():
            operand = _value(node.operand, lookup)
            if isinstance(node.op, ast.Not):
                return not _truth(operand, node.operand)
            return -_number(operand) if isinstance(node.op, ast.USub) else _number(operand)
        case ast.BinOp():
            return _computed(node, lookup)
        case ast.Compare():
            return _compared(node, lookup)
    raise TypeError(f"'{ast.unparse(node)}' is no expression")


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return f"{_dotted(node.value)}.{node.attr}"
    return ast.unparse(node)


def _joined(node: ast.BoolOp, lookup: Lookup) -> bool:
    """Return `and` and `or` as Python has them: what follows is looked at only where it makes a difference."""
    wanted = isinstance(node.op, ast.Or)
    for value in node.values:
        if _truth(_value(value, lookup), value) is wanted:
            return wanted
    return not wanted


def _truth(value: Any, node: ast.expr) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"'{ast.unparse(node)}' is {value!r}, neither true nor false")
    return value


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value


def _computed(node: ast.BinOp, lookup: Lookup) -> Any:
    left, right = _number(_value(node.left, lookup)), _number(_value(node.right, lookup))
    return _ARITHMETIC[type(node.op)](left, right)


def _compared(node: ast.Compare, lookup: Lookup) -> bool:
    left = _value(node.left, lookup)
    for comparison, right_node in zip(node.ops, node.comparators, strict=True):
        right = _value(right_node, lookup)
        if not _COMPARISONS[type(comparison)](left, right):
            return False
        left = right
    return True
