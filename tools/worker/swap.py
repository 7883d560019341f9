"""Exact replacement of function code in already imported modules.

Standard library only, Python >= 3.8. A candidate differs from the imported file in a few code
objects. Replacing ``__code__`` of the live functions is the same as importing the new file when
none of the changed code objects ran before (during import or collection) and nothing that was
evaluated at import differs: defaults, decorators, annotations and class attributes are code of
the enclosing module or class, which did run, so a change there shows up by itself.
Anything else raises Inexact, and the caller imports the file anew.
"""

import ast
import gc
import inspect
import types
import warnings

_OPTIMIZED = inspect.CO_OPTIMIZED | inspect.CO_NEWLOCALS
_KIND = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_KIND |= inspect.CO_ITERABLE_COROUTINE | inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
_HAS_DOCSTRING = getattr(inspect, "CO_HAS_DOCSTRING", 0)
_FUTURES = 0x1FF0000  # the CO_FUTURE_* bits, as `compile` takes them


class Inexact(Exception):
    """A swap would not be the same as importing the new file; the text says why."""


class Invalid(Exception):
    """The new file does not compile."""

    def __init__(self, error):
        super().__init__(str(error))
        self.error = error


# Whether a warning while importing may be an error in this suite (pytest's filterwarnings, -W).
WARNINGS_MATTER = [True]


def compile_checked(source, path, flags=0):
    """The code object of `source`. Raises Invalid; Inexact where compiling warns and it matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("error" if WARNINGS_MATTER[0] else "ignore")
        try:
            return compile(source, path, "exec", flags=flags, dont_inherit=True)
        except Warning as warning:
            raise Inexact("compiling warns: %s" % warning)
        except SyntaxError as error:
            # A SyntaxWarning turned into an error reads like a SyntaxError: ask again without.
            warnings.simplefilter("ignore")
            try:
                compile(source, path, "exec", flags=flags, dont_inherit=True)
            except SyntaxError:
                raise Invalid(error)
            except (ValueError, OverflowError, RecursionError, MemoryError) as other:
                raise Invalid(other)
            raise Inexact("compiling warns: %s" % error)
        except (ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise Invalid(error)


def _nested(code):
    return [const for const in code.co_consts if isinstance(const, types.CodeType)]


def _constants(code):
    """Constants by type and value, nested code left out (1 == True == 1.0, 0.0 == -0.0)."""
    return [
        None if isinstance(const, types.CodeType) else (type(const), repr(const))
        for const in code.co_consts
    ]


def _same_alone(old, new):
    """Whether two code objects do the same, apart from code nested in them and line numbers."""
    return (
        old.co_code == new.co_code
        and old.co_names == new.co_names
        and old.co_varnames == new.co_varnames
        and old.co_freevars == new.co_freevars
        and old.co_cellvars == new.co_cellvars
        and old.co_flags == new.co_flags
        and old.co_name == new.co_name
        and old.co_argcount == new.co_argcount
        and old.co_kwonlyargcount == new.co_kwonlyargcount
        and old.co_posonlyargcount == new.co_posonlyargcount
        and getattr(old, "co_exceptiontable", b"") == getattr(new, "co_exceptiontable", b"")
        and _constants(old) == _constants(new)
    )


def _signature(code):
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS)
    count += bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return (
        code.co_argcount,
        code.co_kwonlyargcount,
        code.co_posonlyargcount,
        code.co_varnames[:count],
        code.co_freevars,
        code.co_name,
        code.co_flags & _KIND,
    )


def _docstring(code):
    if _HAS_DOCSTRING and not code.co_flags & _HAS_DOCSTRING:
        return None
    first = code.co_consts[0] if code.co_consts else None
    return first if isinstance(first, str) else None


class Index:
    """Live functions and started frames by code object, taken once after collection."""

    def __init__(self, ran):
        """`ran`: code objects that were executed so far."""
        self.ran = set(ran)
        self.suspended = set()  # code of live generators and coroutines
        self.functions = {}
        for thing in gc.get_objects():
            kind = type(thing)
            if kind is types.FunctionType:
                self.functions.setdefault(thing.__code__, []).append(thing)
            elif kind is types.GeneratorType:
                self.suspended.add(thing.gi_code)
            elif kind is types.CoroutineType:
                self.suspended.add(thing.cr_code)
            elif kind is types.AsyncGeneratorType:
                self.suspended.add(thing.ag_code)
        self.ran |= self.suspended


def _imported(tree):
    """Names that import statements bind at module level."""
    names, rest = set(), list(tree.body)
    while rest:
        node = rest.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if alias.name != "*":
                    names.add(alias.asname or alias.name.split(".")[0])
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            rest.extend(ast.iter_child_nodes(node))
    return names


class Source:
    """One imported file: its text as it was imported, cut into top-level statements."""

    def __init__(self, path, data):
        """`path` as in ``co_filename``. Raises Inexact where the text cannot be cut."""
        self.path, self.data = path, data
        try:
            self.text = data.decode("utf-8")
            tree = ast.parse(self.text)
        except (UnicodeDecodeError, SyntaxError, ValueError, RecursionError) as error:
            raise Inexact("the imported file is not plain UTF-8 Python: %s" % error)
        if "\r" in self.text or "\f" in self.text or self.text.startswith("\ufeff"):
            raise Inexact("line ends other than \\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = compile(self.text, path, "exec", dont_inherit=True)
        self.flags = whole.co_flags & _FUTURES
        self.lines = self.text.split("\n")
        # (first, last) line, 1-based, of each top-level def or class, with its decorators.
        self.blocks = []
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                first = min([node.lineno] + [each.lineno for each in node.decorator_list])
                last = getattr(node, "end_lineno", None)
                self.blocks.append((first, last))
        self._compiled = {}
        # CPython (3.12+) compiles calls on names that the module imports differently: a block is
        # compiled with such imports behind it.
        names = sorted(_imported(tree))
        self.imports = "\nimport " + ", ".join("sys as " + name for name in names) if names else ""

    def block_code(self, block):
        """Code of the top-level statement at `block`, positioned as in the file."""
        if block not in self._compiled:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                text = "\n" * (block[0] - 1) + "\n".join(self.lines[block[0] - 1 : block[1]])
                text += self.imports
                code = compile(text, self.path, "exec", flags=self.flags, dont_inherit=True)
            self._compiled[block] = code
        return self._compiled[block]

    def changed_block(self, text):
        """((first, last), new text of it) for the one top-level def or class that differs.

        None where the text is the same. Raises Inexact where more than one block differs or
        something outside a block.
        """
        new = text.split("\n")
        old = self.lines
        shorter = min(len(old), len(new))
        head = 0
        while head < shorter and old[head] == new[head]:
            head += 1
        if head == len(old) == len(new):
            return None
        tail = 0
        while tail < shorter - head and old[-1 - tail] == new[-1 - tail]:
            tail += 1
        first, last = head + 1, len(old) - tail  # the changed old lines; an insertion: last < first
        for block in self.blocks:
            if block[0] <= first and max(last, first - 1) <= block[1] and first <= block[1] + 1:
                end = block[1] + len(new) - len(old)
                text = "\n" * (block[0] - 1) + "\n".join(new[block[0] - 1 : end])
                return block, text + self.imports
        raise Inexact("module-level code changed")


def _pairs(old, new, index, out):
    """Collects (old, new) function code that must be exchanged below equal containers.

    Returns the container with new code inside (`old` itself where nothing changed).
    """
    if _same_alone(old, new):
        inner = []
        for before, after in zip(_nested(old), _nested(new)):
            inner.append((before, _pairs(before, after, index, out)))
        if all(before is after for before, after in inner):
            return old
        if old in index.suspended:
            raise Inexact("%s is suspended and holds the old code" % old.co_name)
        queue = iter([after for _, after in inner])
        consts = tuple(
            next(queue) if isinstance(const, types.CodeType) else const for const in old.co_consts
        )
        changed = old.replace(co_consts=consts)
        if old.co_flags & _OPTIMIZED == _OPTIMIZED:
            out.append((old, changed))
        return changed
    if old.co_flags & _OPTIMIZED != _OPTIMIZED:
        raise Inexact("code that runs at import changed (%s)" % old.co_name)
    if old in index.ran:
        raise Inexact("%s ran during import or collection" % old.co_name)
    if _signature(old) != _signature(new):
        raise Inexact("the signature or closure of %s changed" % old.co_name)
    if _docstring(old) != _docstring(new):
        raise Inexact("the docstring of %s changed" % old.co_name)
    out.append((old, new))
    return new


def _all_code(code, found):
    found.append(code)
    for inner in _nested(code):
        _all_code(inner, found)
    return found


def plan(source, data, index, tree):
    """[(function, new code)] that turns the imported module into the one of `data`.

    Raises Invalid where `data` does not compile, Inexact where only an import will do.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Inexact("not UTF-8: %s" % error)
    if "\r" in text or "\f" in text or "\0" in text:
        raise Inexact("line ends other than \\n")
    try:
        found = source.changed_block(text)
    except Inexact:
        compile_checked(text, source.path)  # Invalid is the better answer
        raise
    if found is None:
        return []
    block, new_text = found
    try:
        new = compile_checked(new_text, source.path, source.flags)
    except Invalid:
        # The block alone may fail where the file would not (and the other way round below).
        compile_checked(text, source.path)
        raise Inexact("the changed statement compiles only within its file")
    old = source.block_code(block)
    if len(_nested(old)) != len(_nested(new)):
        compile_checked(text, source.path)
        raise Inexact("module-level code changed")
    pairs = []
    _pairs(old, new, index, pairs)
    codes = _all_code(old, [])
    if len(set(codes)) != len(codes):
        raise Inexact("two functions with the same code on one line")
    swaps = []
    for before, after in pairs:
        for function in index.functions.get(before, ()):
            if tree.relative(function.__code__.co_filename) == tree.relative(source.path):
                swaps.append((function, after))
    if pairs and not swaps:
        # Nothing alive holds the old code: it was deleted, or is another text than what was read.
        raise Inexact("no live function has the changed code")
    return swaps


def apply(swaps):
    """Exchanges the code. Raises Inexact where CPython refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            for function, code in swaps:
                function.__code__ = code
        except (ValueError, DeprecationWarning) as error:
            raise Inexact(str(error))
