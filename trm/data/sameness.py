"""When two versions of a function are the same but for layout, types, names, style, logging or messages."""

from __future__ import annotations

import ast
import re
from typing import Any

_WORD = re.compile(r"\w+")
_LOGGERS = frozenset({"print", "log", "logger", "logging", "warnings", "LOG", "LOGGER", "_logger", "_log", "pdb"})  # fmt: skip
_LOGS = frozenset({"debug", "info", "warning", "warn", "exception", "log", "trace", "critical"})
_BINDING = frozenset({"property", "staticmethod", "classmethod", "contextmanager", "setter"})


def same_but_for(before: bytes, after: bytes) -> str | None:
    """What one has to look away from to see no difference, the least first; None if they differ in more than that."""
    # most differ, so all at once comes first
    if len({_normal(source, *(n for _, n in _NORMAL)) for source in (before, after)}) > 1:
        return None
    for count, (reason, _) in enumerate(_NORMAL, 1):
        chosen = [normal for _, normal in _NORMAL[:count]]
        if _normal(before, *chosen) == _normal(after, *chosen):
            return reason
    return None


def _normal(source: bytes, *transformers: type[ast.NodeTransformer]) -> str:
    tree: ast.AST = ast.parse(source)
    for transformer in transformers:
        tree = transformer().visit(tree)
    return ast.dump(tree)


class _Layout(ast.NodeTransformer):
    """Without docstrings and annotations."""

    def visit_FunctionDef(self, node: Any) -> Any:
        self.generic_visit(node)
        node.returns = None
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> Any:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        self.generic_visit(node)
        return ast.Assign([node.target], node.value, None) if node.value else None

    def visit_Expr(self, node: ast.Expr) -> Any:
        self.generic_visit(node)
        return None if isinstance(node.value, ast.Constant) else node

    def visit_Pass(self, node: ast.Pass) -> Any:
        return None

    def visit_Constant(self, node: ast.Constant) -> Any:
        node.kind = None
        return node


class _Names(ast.NodeTransformer):
    """With local variables numbered in the order in which they are met; parameters keep their names."""

    def visit_Module(self, node: ast.Module) -> Any:
        stored = {
            n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        stored |= {n.name for n in ast.walk(node) if isinstance(n, ast.ExceptHandler) and n.name}
        outer = (ast.Global, ast.Nonlocal)
        kept = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
        kept |= {name for n in ast.walk(node) if isinstance(n, outer) for name in n.names}
        self.local = stored - kept
        self.numbers: dict[str, str] = {}
        return self.generic_visit(node)

    def _number(self, name: str) -> str:
        return (
            self.numbers.setdefault(name, f"v{len(self.numbers)}") if name in self.local else name
        )

    def visit_Name(self, node: ast.Name) -> Any:
        node.id = self._number(node.id)
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> Any:
        node.name = self._number(node.name) if node.name else None
        return self.generic_visit(node)


class _Style(ast.NodeTransformer):
    """Without what linters ask for: `raise ... from`, `is None`, `not in`, names of bare excepts, super's arguments, literals."""

    def visit_Raise(self, node: ast.Raise) -> Any:
        self.generic_visit(node)
        node.cause = None
        return node

    def visit_Compare(self, node: ast.Compare) -> Any:
        self.generic_visit(node)
        constants = [isinstance(c, ast.Constant) and (c.value is None or c.value is True or c.value is False)
                     for c in node.comparators]  # fmt: skip
        node.ops = [ast.Is() if known and isinstance(op, ast.Eq) else
                    ast.IsNot() if known and isinstance(op, ast.NotEq) else op
                    for op, known in zip(node.ops, constants, strict=True)]  # fmt: skip
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        self.generic_visit(node)
        inverse = {ast.In: ast.NotIn, ast.Is: ast.IsNot}
        if isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Compare):
            ops = node.operand.ops
            if len(ops) == 1 and (other := inverse.get(type(ops[0]))):
                node.operand.ops = [other()]
                return node.operand
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> Any:
        self.generic_visit(node)
        node.name = None
        node.type = None if ast.dump(node.type or ast.Constant(0)) in _CATCH_ALL else node.type
        return node

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "super":
            node.args = []
        elif not node.args and not node.keywords and name in ("dict", "list", "tuple"):
            empty: dict[str, ast.expr] = {
                "dict": ast.Dict([], []),
                "list": ast.List([], ast.Load()),
            }
            return empty.get(name) or ast.Tuple([], ast.Load())
        return node

    def visit_Return(self, node: ast.Return) -> Any:
        self.generic_visit(node)
        if isinstance(node.value, ast.Constant) and node.value.value is None:
            node.value = None
        return node


_CATCH_ALL = {ast.dump(ast.Name(name, ast.Load())) for name in ("Exception", "BaseException")}


class _Spoken(ast.NodeTransformer):
    """Without logging, printing, assertions, and decorators that bind nothing."""

    def visit_Expr(self, node: ast.Expr) -> Any:
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call):
            function = call.func
            parts = _WORD.findall(ast.unparse(function)) or [""]
            if parts[-1] in _LOGS or (set(parts) & _LOGGERS and "(" not in ast.unparse(function)):
                return None
        return node

    def visit_Assert(self, node: ast.Assert) -> Any:
        return None

    def visit_FunctionDef(self, node: Any) -> Any:
        self.generic_visit(node)
        node.decorator_list = [d for d in node.decorator_list if set(_WORD.findall(ast.unparse(d))) & _BINDING]  # fmt: skip
        return node

    visit_AsyncFunctionDef = visit_FunctionDef


class _Wording(ast.NodeTransformer):
    """With one text for all strings, and formatted ones as the values that are put in."""

    def visit_Constant(self, node: ast.Constant) -> Any:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        self.generic_visit(node)
        return _filled([part.value for part in node.values if isinstance(part, ast.FormattedValue)])

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        self.generic_visit(node)
        if isinstance(node.op, ast.Mod) and _is_text(node.left):
            return _filled(node.right.elts if isinstance(node.right, ast.Tuple) else [node.right])
        return node

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        function = node.func
        if (
            isinstance(function, ast.Attribute)
            and function.attr == "format"
            and _is_text(function.value)
        ):
            return _filled([*node.args, *(keyword.value for keyword in node.keywords)])
        return node


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def _filled(values: list[ast.expr]) -> ast.expr:
    return ast.Tuple(values, ast.Load()) if values else ast.Constant("")


_NORMAL: tuple[tuple[str, type[ast.NodeTransformer]], ...] = (
    ("layout, docstring or types", _Layout),
    ("rename", _Names),
    ("style", _Style),
    ("logging, assertion or decorator", _Spoken),
    ("message", _Wording),
)
