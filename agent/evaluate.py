"""`trm-agent eval`: the real `fix` on each problem, judged by hidden tests, with the controls beside it.

Each problem becomes a git repository in a temporary folder; `agent.loop.fix` sees its visible tests only. The last patch
it found is applied there, the hidden tests are added, and everything runs in the confined runner. Results are JSON lines, one a
problem and rank, so an interrupted evaluation goes on where it stopped.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agent.apply import apply_diff
from agent.errors import AgentError, TestsCannotRun, UsageError
from agent.evalsets import DEFAULT_VISIBLE, RedRepository, load, write_files
from agent.events import CandidateTried, Finished, PatchFound
from agent.settings import PATIENCE
from tools.runner import Runner
from tools.source.leaves import NEWLINE, Module
from tools.verdicts import RunnerError
from tools.workspace import is_test_name

RANKS = ("trm", "untrained", "ochiai", "random")
# What became of a problem. Ineligible: its visible tests are green although the program is wrong.
STATUSES = ("fixed", "plausible", "unfixed", "ineligible", "error")
TEST_SECONDS = 10.0  # CPU time of one test when a patch is judged
ONE_EDIT = 12  # leaves removed and written at most: what "one small edit" means in `ceiling`


@dataclass(frozen=True)
class EvalSettings:
    """How problems are run. Seconds and candidates bound one problem; patience: as in FixRequest; task: see evalsets.load."""

    rank: str = "trm"
    visible: str = ""
    max_seconds: float = 60.0
    max_candidates: int | None = None
    checkpoint: str = ""
    seed: int = 0
    python: str = ""
    patience: float = PATIENCE
    task: str = "repair"


@dataclass(frozen=True)
class Result:
    """One problem under one rank. distance, excess: token edits of the patch, and how many more than the reference needs.

    reachable: whether the reference is one edit of at most ONE_EDIT leaves. operator: who proposed the (last) edit of the patch.
    """

    benchmark: str
    task: str
    status: str
    bug_type: str
    settings: EvalSettings
    candidates: int = 0
    seconds: float = 0.0
    operator: str = ""
    distance: int | None = None
    excess: int | None = None
    reachable: bool | None = None
    diff: str = ""
    message: str = ""

    @property
    def key(self) -> str:
        """Same key: same problem and settings, no need to run it again."""
        return json.dumps([self.benchmark, self.task, asdict(self.settings)])


def run_problem(problem: RedRepository, settings: EvalSettings) -> Result:
    """Materialize, fix (or write a stub), apply, judge. Errors of the run become a result with status "error"."""
    from agent.loop import FixRequest, fix

    base = Result(problem.benchmark, problem.task, "error", problem.bug_type, settings,
                  reachable=is_one_edit(problem.files, problem.reference) if problem.reference else None)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="trm-eval-", ignore_cleanup_errors=True) as scratch:
        root = problem.materialize(Path(scratch) / "repo")
        python = problem.python or settings.python or sys.executable
        file, _, function = problem.stub.partition("::")
        request = FixRequest(
            path=root / file, function=function, python=python, pytest_args=problem.pytest_args,
            max_seconds=settings.max_seconds, max_candidates=settings.max_candidates, rank=settings.rank,
            checkpoint=Path(settings.checkpoint) if settings.checkpoint else None, seed=settings.seed, jobs=1,
            patience=settings.patience,
        )  # fmt: skip
        patch: PatchFound | None = None
        last: Finished | None = None
        operators: dict[int, str] = {}  # of candidates that pass, by number
        tried, began = 0, time.monotonic()
        try:
            for event in fix(request):
                if isinstance(event, CandidateTried):
                    tried = event.number
                    if event.outcome == "passed":
                        operators[event.number] = event.operator
                elif isinstance(event, PatchFound):
                    patch = event
                elif isinstance(event, Finished):
                    last = event
        except AgentError as error:
            return replace(
                base, message=f"{type(error).__name__}: {error}", seconds=time.monotonic() - began
            )
        base = replace(base, candidates=tried, seconds=round(time.monotonic() - began, 3),
                       message=last.message if last else "the run ended without a word")  # fmt: skip
        if patch is None or patch.still_red:  # a patch for a part is not claimed to be a fix
            ends = {"green": "ineligible", "not_fixed": "unfixed", "partly_fixed": "unfixed"}
            status = ends.get(last.status if last else "", "error")
            return replace(base, status=status)
        try:
            apply_diff(root, patch.diff, Path(scratch))
            right, said = judge(problem, root, python)
        except AgentError as error:
            return replace(base, diff=patch.diff, message=f"{type(error).__name__}: {error}")
        patched = {path: (root / path).read_bytes() for path in problem.files}
        distance = token_distance(problem.files, patched)
        excess = (
            distance - token_distance(problem.files, problem.reference)
            if problem.reference
            else None
        )
        return replace(base, status="fixed" if right else "plausible", candidates=patch.candidates,
                       operator=operators.get(patch.candidates, ""),
                       distance=distance, excess=excess, diff=patch.diff, message="" if right else said)  # fmt: skip


def judge(problem: RedRepository, root: Path, python: str) -> tuple[bool, str]:
    """Whether visible and hidden tests all pass on the project at `root`, and the first that does not.

    Writes the hidden tests into `root`. Raises TestsCannotRun if the runner cannot start.
    """
    write_files(root, problem.hidden)
    try:
        with Runner(root, python, problem.judge_args or problem.pytest_args) as runner:
            tests = problem.judged or _test_files({**problem.hidden, **problem.files})
            return _passes(runner, {}, tests)
    except RunnerError as error:
        raise TestsCannotRun(str(error), error.hint) from error


def _passes(runner: Runner, files: Mapping[str, bytes], tests: Sequence[str]) -> tuple[bool, str]:
    """Whether all tests of the test files, or the tests of these ids, pass with `files` in place, and what does not."""
    verdict = runner.validate(files, tests, limit_seconds=TEST_SECONDS)
    reached = verdict.reached
    if verdict.passed and reached.issuperset(tests):
        return True, ""
    where = verdict.failing_test or ", ".join(path for path in tests if path not in reached)
    return False, f"{where}: {verdict.message or verdict.outcome}".split("\n")[0]


def _test_files(files: Mapping[str, bytes]) -> list[str]:
    return [path for path in files if is_test_name(Path(path).name)]


# Distances.


def token_distance(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> int:
    """Tokens inserted, deleted or replaced between two versions of a project; files absent from `after` are unchanged."""
    return sum(
        _levenshtein(*_inner(_texts(before.get(path, b"")), _texts(data)))
        for path, data in after.items()
        if data != before.get(path) and path.endswith(".py")
    )


def is_one_edit(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
    """Whether the versions differ by one contiguous edit of at most ONE_EDIT leaves, removed and written."""
    changed = [
        (_texts(before.get(path, b"")), _texts(data))
        for path, data in after.items()
        if data != before.get(path)
    ]
    changed = [pair for pair in changed if pair[0] != pair[1]]
    return len(changed) == 1 and max(map(len, _inner(*changed[0]))) <= ONE_EDIT


def _texts(source: bytes) -> list[str]:
    """Leaf texts without the statements that are only a string: QuixBugs' versions differ in their docstrings."""
    leaves = Module(source).leaves
    texts: list[str] = []
    begins, index = True, 0
    while index < len(leaves):
        leaf = leaves[index]
        if (
            begins
            and leaf.kind == "string"
            and index + 1 < len(leaves)
            and leaves[index + 1].kind == NEWLINE
        ):
            index += 2
            continue
        texts.append(leaf.text)
        begins = leaf.is_layout
        index += 1
    return texts


def _inner(left: list[str], right: list[str]) -> tuple[list[str], list[str]]:
    """Both without their common beginning and end."""
    first, shorter = 0, min(len(left), len(right))
    while first < shorter and left[first] == right[first]:
        first += 1
    last = 0
    while last < shorter - first and left[-1 - last] == right[-1 - last]:
        last += 1
    return left[first : len(left) - last], right[first : len(right) - last]


def _levenshtein(left: Sequence[str], right: Sequence[str]) -> int:
    row = list(range(len(right) + 1))
    for i, token in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (token != other))
    return row[-1]


# All problems.


def run_eval(
    name: str,
    data: Path | None = None,
    ranks: Sequence[str] = ("trm",),
    limit: int | None = None,
    visible: str | None = None,
    json_path: Path | None = None,
    jobs: int = 1,
    settings: EvalSettings = EvalSettings(),
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> list[Result]:
    """Evaluate `ranks` on the set `name` (see `agent.evalsets.load`); results in the order of ranks, then problems.

    json_path: JSON lines that results are added to and, for the same settings, taken from. jobs: problems at once, each in a
    process of its own. say: called with a line for each result. Raises UsageError for wrong arguments.
    """
    if unknown := [rank for rank in ranks if rank not in RANKS]:
        raise UsageError(f"unknown rank {unknown[0]!r}", f"one of {', '.join(RANKS)}")
    problems = load(name, data, visible, task=settings.task, limit=limit)
    earlier = read_results(json_path) if json_path else []
    known = {
        result.key: result for result in earlier if result.status != "error"
    }  # errors are tried again
    wanted: list[tuple[RedRepository, EvalSettings]] = []
    for rank in ranks:
        # which checkpoint is of no matter to a rank that reads none
        own = replace(settings, rank=rank, visible=visible or DEFAULT_VISIBLE.get(name, ""),
                      checkpoint=settings.checkpoint if rank == "trm" else "")  # fmt: skip
        wanted.extend((problem, own) for problem in problems)
    keys = [Result(problem.benchmark, problem.task, "", "", own).key for problem, own in wanted]
    rest = [pair for pair, key in zip(wanted, keys, strict=True) if key not in known]
    if len(rest) < len(wanted):
        say(f"{len(wanted) - len(rest)} of {len(wanted)} results are in {json_path} already")
    for number, result in enumerate(_run_all(rest, jobs), 1):
        known[result.key] = result
        if json_path:
            with json_path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
        say(f"{number}/{len(rest)} {result.settings.rank} {result.task}: {result.status}, "
            f"{result.candidates} candidates, {result.seconds:.1f} s {result.message[:100]}".rstrip())  # fmt: skip
    return [known[key] for key in keys]


def _run_all(pairs: Sequence[tuple[RedRepository, EvalSettings]], jobs: int) -> Iterator[Result]:
    if jobs <= 1:
        for pair in pairs:
            yield run_problem(*pair)
        return
    # spawned: the parent may hold threads, and a child must not inherit them half
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(run_problem, *pair) for pair in pairs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def read_results(path: Path) -> list[Result]:
    """Results of a JSON-lines file; [] if there is none yet. Raises UsageError for anything else in it."""
    if not path.exists():
        return []
    results: list[Result] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            results.append(Result(**{**record, "settings": EvalSettings(**record["settings"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"{path}:{number}: not a result of eval: {error}", "name another file"
            ) from error
    return results


def check(problems: Sequence[RedRepository], python: str = "") -> Iterator[str]:
    """Test the problems themselves: a line for each whose reference fails, or whose buggy program passes the visible tests."""
    for problem in problems:
        with tempfile.TemporaryDirectory(prefix="trm-eval-", ignore_cleanup_errors=True) as scratch:
            root = problem.materialize(Path(scratch) / "repo")
            own = problem.python or python or sys.executable
            try:
                with Runner(root, own, problem.pytest_args) as runner:
                    if _passes(runner, {}, _test_files(problem.files))[0]:
                        yield f"{problem.task}: the visible tests pass on the buggy program"
                if problem.reference:
                    write_files(root, problem.reference)
                    passed, said = judge(problem, root, own)
                    if not passed:
                        yield f"{problem.task}: the reference fails {said}"
            except RunnerError as error:
                raise TestsCannotRun(f"{problem.task}: {error}", error.hint) from error
