"""Python's own parser, from several threads at once."""

import ast
import gc
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tools.source import syntax


def test_threads_that_parse_at_once_do_not_disturb_one_another():
    """python/cpython#106905: a collection amid a tree lets another thread in, which counts the same depth."""
    code = "x = " + "f(" * 40 + "1" + ")" * 40 + "\n"
    wanted = ast.dump(ast.parse(code))

    def work(_: int) -> bool:
        return ast.dump(syntax.parse(code)) == wanted and syntax.literal(" [1, {2: 'a'}]") == [
            1,
            {2: "a"},
        ]

    def collected(*_) -> None:
        time.sleep(0)

    threshold = gc.get_threshold()
    gc.set_threshold(5)
    gc.callbacks.append(collected)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, range(100)))
    finally:
        gc.callbacks.remove(collected)
        gc.set_threshold(*threshold)


@pytest.mark.parametrize("text", ["f(1)", "{[]: 1}", "1 +", "\x00", "(" * 3000 + ")" * 3000])
def test_what_is_no_literal_is_told_as_python_tells_it(text):
    errors = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)
    with pytest.raises(errors) as ours:
        syntax.literal(text)
    with pytest.raises(errors) as theirs:
        ast.literal_eval(text)
    assert ours.type is theirs.type
