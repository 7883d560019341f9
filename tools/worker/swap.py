"""Exact replacement of function code in already imported modules.

Standard library only, Python >= 3.8. A candidate differs from the imported file in a few code
objects. Replacing ``__code__`` of the live functions is the same as importing the new file when
none of the changed code objects ran before (during import or collection) and nothing that was
evaluated at import differs: defaults, decorators, annotations and class attributes are code of
the enclosing module or class, which did run, so a change there shows up by itself.
Anything else raises Inexact, and the caller imports the file anew.
"""

import ast
import bisect
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


_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


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
    if code.co_name in _COMPREHENSIONS:  # their first constant is nobody's docstring
        return None
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
        self.functions, self.all = {}, []
        for thing in gc.get_objects():
            kind = type(thing)
            if kind is types.FunctionType:
                self.functions.setdefault(thing.__code__, []).append(thing)
                self.all.append(thing)
            elif kind is types.GeneratorType:
                self.suspended.add(thing.gi_code)
            elif kind is types.CoroutineType:
                self.suspended.add(thing.cr_code)
            elif kind is types.AsyncGeneratorType:
                self.suspended.add(thing.ag_code)
        self.ran |= self.suspended
        # The same in every fork of this process.
        self.numbers = {id(function): number for number, function in enumerate(self.all)}


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


def common(old, new):
    """(signs that two texts share at the start, and then at the end); they do not overlap."""
    shorter = min(len(old), len(new))
    low, high = 0, shorter
    while low < high:  # slices compare much faster than a loop of ours
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    head, low, high = low, 0, shorter - low
    while low < high:
        middle = (low + high + 1) // 2
        if old[len(old) - middle : len(old) - low] == new[len(new) - middle : len(new) - low]:
            low = middle
        else:
            high = middle - 1
    return head, low


class Block:
    """Lines of a file that are compiled alone: a top-level def or class, or one method of a class.

    `first`, `last`: lines, 1-based, with decorators; `header`: the line that stands for the class
    around a method; `inner`: the methods of a class.
    """

    def __init__(self, first, last, header=""):
        self.first, self.last, self.header, self.inner = first, last, header, []
        self.code, self.as_inside = None, not header

    def holds(self, first, last):
        """Whether the changed lines are in it (last < first: lines were added before `first`)."""
        return self.first <= first and max(last, first - 1) <= self.last


def _cut(nodes, header=""):
    """Blocks of the defs and classes among `nodes`."""
    found = []
    for node in nodes:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef) + (() if header else (ast.ClassDef,))
        if isinstance(node, kinds):
            first = min([node.lineno] + [each.lineno for each in node.decorator_list])
            block = Block(first, node.end_lineno, header)
            if isinstance(node, ast.ClassDef) and not getattr(node, "type_params", None):
                block.inner = _cut(node.body, "class %s:" % node.name)
            found.append(block)
    return found


def _text(data):
    """Decoded, with the line ends that Python's tokenizer makes of \\r\\n, in strings too."""
    return data.decode("utf-8").replace("\r\n", "\n")


class Source:
    """One imported file: its text as it was imported, cut into top-level statements."""

    def __init__(self, path, data):
        """`path` as in ``co_filename``. Raises Inexact where the text cannot be cut."""
        self.path, self.data = path, data
        try:
            self.text = _text(data)
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
        self.blocks = _cut(tree.body)
        self.starts, at = [], 0  # where each line starts
        for line in self.lines:
            self.starts.append(at)
            at += len(line) + 1
        # CPython (3.12+) compiles calls on names that the module imports differently: a block is
        # compiled with such imports behind it.
        names = sorted(_imported(tree))
        self.imports = "\nimport " + ", ".join("sys as " + name for name in names) if names else ""

    def alone(self, block, text):
        """The lines `text` of a block as a file of their own, positioned as in the whole file."""
        if block.header:
            return "\n" * (block.first - 2) + block.header + "\n" + text + self.imports
        return "\n" * (block.first - 1) + text + self.imports

    def block_code(self, block):
        """The compiled block of the file as it was imported."""
        if block.code is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                text = self.alone(block, "\n".join(self.lines[block.first - 1 : block.last]))
                block.code = compile(text, self.path, "exec", flags=self.flags, dont_inherit=True)
        return block.code

    def _method(self, outer, first, last):
        """The method in a class that holds the changed lines, if it compiles alone as it does there."""
        for block in outer.inner:
            if block.first < first and block.holds(first, last):
                if not block.as_inside:
                    whole = _all_code(self.block_code(outer), [])
                    alone = _all_code(self.block_code(block), [])
                    alone = [code for code in alone if code.co_flags & _OPTIMIZED == _OPTIMIZED]
                    if not alone or any(code not in whole for code in alone):
                        return None
                    block.as_inside = True
                return block
        return None

    def changed_block(self, text):
        """(block, new text of it as a file of its own) for the one block that differs.

        None where the text is the same. Raises Inexact where more than one block differs or
        something outside a block.
        """
        if text == self.text:
            return None
        head, tail = common(self.text, text)
        end, new_end = len(self.text) - tail, len(text) - tail
        first = bisect.bisect_right(self.starts, head)
        last = bisect.bisect_right(self.starts, end)  # the changed old lines
        if self.starts[last - 1] == end and text[new_end - 1 : new_end] in ("", "\n"):
            last -= 1
        for block in self.blocks:
            if block.holds(first, last):
                block = self._method(block, first, last) or block
                begin = self.starts[block.first - 1]
                after = self.starts[block.last - 1] + len(self.lines[block.last - 1])
                inner = text[begin : len(text) - (len(self.text) - after)]
                return block, self.alone(block, inner)
        raise Inexact("module-level code changed")


def _pairs(old, new, index, out, guess):
    """Collects (old, new) function code that must be exchanged below equal containers.

    Returns the container with new code inside (`old` itself where nothing changed).
    """
    if _same_alone(old, new):
        inner = []
        for before, after in zip(_nested(old), _nested(new)):
            inner.append((before, _pairs(before, after, index, out, guess)))
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
    if old in index.ran and not guess:
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


def plan(source, data, index, tree, guess=False):
    """[(function, new code)] that turns the imported module into the one of `data`.

    guess: also what ran during import, whose results may be those of the old code.

    Raises Invalid where `data` does not compile, Inexact where only an import will do.
    """
    try:
        text = _text(data)
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
    _pairs(old, new, index, pairs, guess)
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
    """Exchanges the code and returns what puts it back. Raises Inexact where CPython refuses."""
    before = [(function, function.__code__) for function, _ in swaps]
    try:
        for function, code in swaps:
            function.__code__ = code  # it would only warn of another kind of code: see _signature
    except ValueError as error:
        raise Inexact(str(error))
    return before
