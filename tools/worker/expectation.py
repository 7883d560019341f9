"""Which side of a comparison that failed is what the test expects: suites write `assert f(x) == 3`, and `assert 3 == f(x)`.

pytest and unittest tell a left and a right side only. Told by the statement and its function as they are written.
Standard library only, Python >= 3.8.
"""

import ast
import functools
import itertools
import re
import textwrap

_WANTED = re.compile(
    r"(?:^|_)(?:exp|expect\w*|wants?|wanted|correct|desired|answers?|golden|truth|solution)(?:_|\d*$)",
    re.IGNORECASE,
)
_GOT = re.compile(
    r"(?:^|_)(?:actual|got|results?|res|ret|returned|outputs?|out|observed|computed|found)(?:_|\d*$)",
    re.IGNORECASE,
)
_MAKERS = frozenset(
    ["bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "range", "set", "str", "tuple"]
)  # fmt: skip
_DEEPEST = 2  # assignments that are followed
_LONGEST = 400  # lines of a function that are read


@functools.lru_cache(maxsize=256)
def comes_first(path, begin, line):
    """Whether the left side is the expected one in the statement at `line` of the function that begins at line `begin`.

    False where nothing tells. Never raises.
    """
    try:
        function, statement = _read(path, begin, line)
        both = _compared(statement)
        if both is None:
            return False
        known = _known(function)
        left, right = (_likeness(side, known, _DEEPEST) for side in both)
        return left > right
    except (OSError, SyntaxError, ValueError, RecursionError, IndexError):
        return False


def _read(path, begin, line):
    """(the function up to the statement, the statement) as syntax trees."""
    begin = max(begin, line - _LONGEST)
    with open(path, encoding="utf-8", errors="replace") as handle:
        rows = list(itertools.islice(handle, begin - 1, line + 20))
    for end in range(line - begin + 1, len(rows) + 1):  # it may go over several lines
        try:
            module = ast.parse(textwrap.dedent("".join(rows[:end])))
        except SyntaxError:
            continue
        found = [node for node in ast.walk(module) if isinstance(node, ast.stmt)]
        return module, max(found, key=lambda node: node.lineno)
    raise SyntaxError(path)


def _compared(statement):
    """The two sides of `assert a == b` or `self.assertEqual(a, b)`, None for any other statement."""
    if isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Compare):
        test = statement.test
        return (test.left, test.comparators[0]) if len(test.ops) == 1 else None
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and len(call.args) >= 2:
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        return tuple(call.args[:2]) if name.startswith("assert") else None
    return None


def _known(function):
    """Name -> what it stands for: the value that was assigned last, None for a parameter."""
    known = {}
    for node in ast.walk(function):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            every = node.args.args + node.args.kwonlyargs
            known.update((one.arg, None) for one in every if one.arg not in ("self", "cls"))
    found = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    for node in sorted(found, key=lambda node: node.lineno):
        known.update((name.id, node.value) for name in node.targets if isinstance(name, ast.Name))
    return known


def _likeness(node, known, depth):
    """How much it looks like what is expected, above 0, or like what the code under test made, below."""
    if _constant(node):
        return 2
    name = getattr(node, "id", getattr(node, "attr", None))
    if name is not None and _WANTED.search(name):
        return 2
    if name is not None and _GOT.search(name):
        return -2
    if isinstance(node, ast.Name):
        if node.id not in known or not depth:
            return 0
        value = known[node.id]
        return 1 if value is None else max(-1, min(1, _likeness(value, known, depth - 1)))
    if isinstance(node, ast.Subscript):
        return _likeness(node.value, known, depth) or -1
    if isinstance(node, ast.Attribute):
        return -1
    return -1 if any(isinstance(part, ast.Call) for part in ast.walk(node)) else 0


def _constant(node):
    """Whether it is written down: a literal, containers and sums of such, and types made of such."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        made = name in _MAKERS or name[:1].isupper()
        return made and all(map(_constant, [*node.args, *(word.value for word in node.keywords)]))
    if isinstance(node, ast.BinOp):
        return _constant(node.left) and _constant(node.right)
    if isinstance(node, ast.UnaryOp):
        return _constant(node.operand)
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return all(map(_constant, node.elts))
    if isinstance(node, ast.Dict):
        return all(key is not None and _constant(key) for key in node.keys) and all(
            map(_constant, node.values)
        )
    return isinstance(node, ast.Constant)
