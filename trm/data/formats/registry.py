"""The data sets that are read, one entry each, and the one way to read them: detected from content, a Problem a row.

Licences are those of the sets as far as we know them ("" where none is stated); rows with a licence of their own keep it.
Nothing that is read is executed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from trm.data.formats import contests, corpora, functions, trees
from trm.data.formats.fields import Damaged, FormatError, Row
from trm.data.formats.problem import Problem
from trm.data.formats.rows import rows

_LOOKED_AT = 50  # rows that tell a format
_TOLD = 20  # places that are kept


@dataclass(frozen=True)
class Format:
    """One published form of a set. fields: those that a row must have to be of it; "a|b" is either.

    judged: kept for evaluation, never trained on.
    """

    name: str
    title: str
    licence: str
    fields: tuple[str, ...] = ()
    problem: Callable[[Row], Problem | None] | None = None
    folders: tuple[str, ...] = ()
    tree: Callable[[Path], Iterator[trees.Found]] | None = None
    judged: bool = False

    def fits(self, row: Row) -> bool:
        """Whether a row has all fields."""
        return all(any(name in row for name in each.split("|")) for each in self.fields)


def _own(row: Row) -> Problem:
    try:
        return Problem.from_record(row)
    except (TypeError, ValueError) as error:
        raise Damaged(str(error)) from None


# The more fields a form asks for, the earlier it is tried.
FORMATS = (
    Format("quixbugs", "QuixBugs", "MIT", folders=("python_programs", "correct_python_programs"), tree=trees.quixbugs,
           judged=True),
    Format("condefects", "ConDefects", "MIT", folders=("Code",), tree=trees.condefects, judged=True),
    Format("debugbench", "DebugBench", "Apache-2.0", folders=("benchmark",), tree=trees.debugbench_tree, judged=True),
    Format("bugsinpy", "BugsInPy", "", folders=("projects",), tree=trees.bugsinpy, judged=True),
    Format("problems", "problems that data convert wrote", "",
           ("source", "task", "prompt", "stub", "code", "visible", "hidden"), _own),
    Format("livecodebench", "LiveCodeBench", "CC",
           ("question_content", "question_id", "starter_code", "public_test_cases", "private_test_cases"),
           contests.livecodebench, judged=True),
    Format("humanevalfix", "HumanEvalPack", "MIT",
           ("task_id", "declaration", "canonical_solution", "buggy_solution", "test", "entry_point"),
           functions.humanevalfix, judged=True),
    Format("commitpackft", "CommitPackFT", "MIT",
           ("commit", "old_file|new_file", "old_contents", "new_contents", "message|subject"),
           corpora.commitpackft),
    Format("evalplus", "EvalPlus", "Apache-2.0", ("task_id", "prompt", "canonical_solution", "base_input", "entry_point"),
           functions.evalplus, judged=True),
    Format("bigcodebench", "BigCodeBench", "Apache-2.0",
           ("task_id", "complete_prompt", "canonical_solution", "test", "entry_point"),
           functions.bigcodebench, judged=True),
    Format("humaneval", "HumanEval", "MIT", ("task_id", "prompt", "canonical_solution", "test", "entry_point"),
           functions.humaneval, judged=True),
    Format("codecontests", "CodeContests", "CC-BY-4.0", ("name", "description", "public_tests", "private_tests", "solutions"),
           contests.codecontests, judged=True),
    Format("codesearchnet", "CodeSearchNet", "", ("repo|repository_name", "path|func_path_in_repository", "func_name",
           "original_string|whole_func_string|code", "docstring|func_documentation_string"), corpora.codesearchnet),
    Format("cruxeval", "CRUXEval", "MIT", ("code", "input", "output", "id"), functions.cruxeval, judged=True),
    Format("runbugrun", "RunBugRun", "CDLA-Permissive-2.0", ("id", "problem_id", "buggy_code", "fixed_code"), contests.runbugrun),
    Format("mbpp", "MBPP", "CC-BY-4.0", ("task_id", "text|prompt", "code", "test_list"), functions.mbpp, judged=True),
    Format("apps", "APPS", "MIT", ("question", "solutions", "input_output"), contests.apps, judged=True),
    Format("ds1000", "DS-1000", "CC-BY-SA-4.0", ("prompt", "reference_code", "code_context"), functions.ds1000, judged=True),
    Format("debugbench", "DebugBench", "Apache-2.0", ("slug", "buggy_code", "oracle_code|solution"),
           functions.debugbench, judged=True),
    Format("codeparrot", "codeparrot-clean, github-code", "", ("repo_name", "path", "content|code"), corpora.codeparrot),
    Format("alpaca", "Alpaca Python", "", ("instruction", "output"), corpora.alpaca),
    Format("glaive", "Glaive code assistant", "Apache-2.0", ("question", "answer"), corpora.glaive),
)  # fmt: skip
JUDGED = frozenset(form.name for form in FORMATS if form.judged)
_BY_FIELDS = sorted((f for f in FORMATS if f.fields), key=lambda form: -len(form.fields))
_TOKENS = {"input_ids", "tokens", "token_ids", "attention_mask", "value"}


@dataclass
class Report:
    """What a reading came upon. other: rows in another language; damaged: by what is wrong; places: the first of those."""

    rows: int = 0
    problems: int = 0
    other: int = 0
    damaged: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)

    def damage(self, place: str, damaged: Damaged) -> None:
        """Count a damaged row."""
        self.damaged[str(damaged)] += 1
        if len(self.places) < _TOLD:
            self.places.append(f"{place}: {damaged}")


def detect(path: Path) -> Format:
    """The format of a file or folder, from what is in it. Raises FormatError if it is none that we know."""
    if path.is_dir():
        there = trees.folders_of(path)
        for form in FORMATS:
            if form.folders and there.issuperset(form.folders):
                return form
    votes: Counter[Format] = Counter()
    unknown: Row | None = None
    damaged = ""
    for place, row in islice(rows(path), _LOOKED_AT):
        if isinstance(row, Damaged):
            damaged = damaged or f"{place}: {row}"
            continue
        form = next((form for form in _BY_FIELDS if form.fits(row)), None)
        if form is None:
            unknown = row if unknown is None else unknown
        else:
            votes[form] += 1
    if votes:
        return votes.most_common(1)[0][0]
    if unknown and unknown.keys() <= _TOKENS:
        raise FormatError(
            f"{path}: token ids, of which no text can be made without their tokenizer"
        )
    if unknown is not None:
        raise FormatError(
            f"{path}: no data set that we know (fields: {', '.join(sorted(unknown)[:6])})"
        )
    raise FormatError(damaged or f"{path}: no rows")


def read(
    path: Path, *, strict: bool = False, shard: tuple[int, int] = (0, 1), report: Report | None = None, form: Format | None = None
) -> Iterator[Problem]:  # fmt: skip
    """The problems of a data set, one at a time.

    Damaged rows are counted in `report` and left out, or with `strict` end the reading. shard: see `rows`. form: what `detect`
    found. Raises FormatError for what is no data set, and for damage where that is strict.
    """
    form = form or detect(path)
    report = report if report is not None else Report()
    for place, problem in _problems(form, path, shard):
        report.rows += 1
        if isinstance(problem, Damaged):
            if strict:
                raise FormatError(f"{place}: {problem}")
            report.damage(place, problem)
        elif problem is None:
            report.other += 1
        else:
            report.problems += 1
            if not problem.task:
                problem = replace(problem, task=place.rpartition(":")[2])
            yield problem if problem.licence else replace(problem, licence=form.licence)


def _problems(form: Format, path: Path, shard: tuple[int, int]) -> Iterator[trees.Found]:
    if form.tree is not None:
        yield from islice(form.tree(path), shard[0], None, shard[1])
        return
    assert form.problem is not None
    for place, row in rows(path, shard):
        if isinstance(row, Damaged):
            yield place, row
            continue
        try:
            yield place, form.problem(row)
        except Damaged as damaged:
            yield place, damaged
        except RecursionError:
            yield place, Damaged("nested too deeply")
