"""A body grown from a stub: a search over programs, each one edit away from another, tests judging every one.

A program is kept where some test answers it better than the one that it was made of, and no earlier program got the same answers
(observational equivalence). The order is best-first. What comes n-th among the edits of a program costs log n nats, whoever put
them in order, and edits add up; how near the answers are to the wanted ones is taken off.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import hashlib
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agent import decide, locate
from agent.budget import Budget
from agent.candidates import Candidate, CostAware, valid
from agent.events import Event
from agent.evidence import CHANGED, answered
from agent.reading import Reader, show_suspects
from agent.search import PatchedFiles, Tests, search
from agent.stubs import Stub
from agent.suite_cache import Rejected
from tools.runner import Runner
from tools.source import syntax
from tools.source.edits import unit_source
from tools.source.leaves import DEDENT, NEWLINE, Module
from tools.verdicts import Outcome, SuiteRun, TestResult, Verdict, said

AT_ONCE = 40  # edits of a program that are tried before it is asked anew which program is next
BEAM = 32  # programs that are kept
MOST_TESTS = 16  # of those that fail, which judge every program; the accepted one meets all
_EDIT = (
    0.5  # nats that an edit costs beside its place: of two ways to the same answers the short one
)
_PROGRESS = 6.0  # nats that are taken off where all answers are right, else in proportion
_ASSERTED = 0.1  # of the progress of a test that passes: it came as far as an assertion
_NEAR = 0.4  # of the same: the value is nearly the wanted one
_LONGEST = 400  # signs of a value that are compared
# values that a function may well return whatever it is asked
_PLAIN = {"None", "True", "False", "0", "1", "-1", "0.0", "''", "[]", "{}", "()"}
_TRACE_SECONDS = 2.0  # CPU time of a test whose lines are traced


@dataclass(order=True)
class Body:
    """A program: the file with a body of so many edits. cost: in nats; taken: edits of it that were tried."""

    cost: float
    number: int
    source: bytes = field(compare=False)
    edits: int = field(compare=False)
    results: Sequence[TestResult] = field(compare=False)
    taken: int = field(default=0, compare=False)
    suspect: locate.Suspect | None = field(default=None, compare=False)
    candidates: CostAware | None = field(default=None, compare=False)

    @property
    def green(self) -> int:
        """How many tests pass."""
        return sum(result.outcome is Outcome.PASSED for result in self.results)


class Growth:
    """The search for a body of `stub` with which the tests `failing` pass, and no other of `run` fails that passed.

    best: the program with which most of them passed.
    """

    def __init__(
        self, runner: Runner, reader: Reader, run: SuiteRun, sources: locate.Sources, stub: Stub, failing: Sequence[str],
        budget: Budget, patience: float,
    ) -> None:  # fmt: skip
        self.runner, self.reader, self.run, self.sources = runner, reader, run, sources
        self.stub, self.budget, self.patience = stub, budget, patience
        tests = Tests.of(locate.only(run, failing), failing)
        self.tests = dataclasses.replace(tests, failing=tests.failing[:MOST_TESTS])
        self.best: Body | None = None
        self._wanted = {
            failure.nodeid: failure.expected for failure in run.failures if failure.operator == "=="
        }
        wanted = Counter(_value(text) for text in self._wanted.values() if text)
        self._answers = {text for text, tests in wanted.items() if tests == 1} - _PLAIN - {""}
        self._programs: list[Body] = []
        self._met: set[tuple] = set()  # answers of the tests
        self._programs_met = {_digest(stub.source)}
        self._numbers = itertools.count()

    def search_on(self) -> Iterator[Event]:
        """Go on until a program passes everything or the budget is used up. Returns Found or None; may be called again."""
        if self.best is None:
            self._begin()
        while self._programs and not self.budget.over():
            body = heapq.heappop(self._programs)
            if body.candidates is None:
                yield from self._open(body)
            tried = self.budget.tried
            found = yield from self._tried(body)
            taken = self.budget.tried - tried
            if taken < AT_ONCE and found is None and self.reader.provisional:
                body.candidates = None  # the model is there now
            elif taken == 0 and found is None:
                continue
            body.cost += math.log((1 + body.taken + taken) / (1 + body.taken))
            body.taken += taken
            self._keep(body)
            if found is not None:
                return found
        return None

    def _begin(self) -> None:
        """The stub is the first program."""
        files = {self.stub.file.path: self.stub.source}
        verdict = self.runner.validate(files, self.tests.failing, stop_at_first=False)
        self.best = Body(0.0, next(self._numbers), self.stub.source, 0, verdict.results)
        self._met.add(_answers(verdict.results))
        self._keep(self.best)

    def _keep(self, body: Body) -> None:
        heapq.heappush(self._programs, body)
        if len(self._programs) > BEAM:
            self._programs.remove(max(self._programs))
            heapq.heapify(self._programs)

    def _open(self, body: Body) -> Iterator[Event]:
        """Have the program's edits put in order, by what the tests show of it."""
        stub, path = self.stub, self.stub.file.path
        module = body.suspect.file.module if body.suspect else Module(body.source)
        file = body.suspect.file if body.suspect else locate.SourceFile(path, module)
        unit = stub.unit_in(module)
        traced = self.runner.traced([(0, {path: body.source}, self.tests.failing)], _TRACE_SECONDS)
        run = next(iter(traced))[1]
        if (
            run is None
        ):  # the code cannot be exchanged in the collected suite: its lines are not known
            run = dataclasses.replace(
                locate.only(self.run, self.tests.failing), results=list(body.results)
            )
        sources = locate.Sources(self.sources.root, {**self.sources.files, path: file})
        whole = dict.fromkeys(range(unit.first_line, unit.last_line + 1), 1.0)
        known = (s for s in locate.suspects(run, sources) if s.file is file and s.unit == unit)
        body.suspect = next(known, locate.Suspect(file, unit, whole, 1.0))
        if body.edits:
            yield self.budget.stamp(
                decide.grow(body.edits, body.green, len(self.tests.failing), body.taken)
            )
        yield from show_suspects([body.suspect], self.budget)
        candidates = yield from self.reader.candidates(run, sources, [body.suspect], False)
        inside = (each for each in candidates if each.edit.start >= stub.body)
        if not body.edits:
            inside = _in_place_of_pass(stub, inside)
        body.candidates = CostAware(each for each in inside if self._fresh(each))

    def _fresh(self, candidate: Candidate) -> bool:
        """Whether a program is new: two ways may lead to it. And not one that only knows the tests."""
        source = candidate.source()
        digest = _digest(source)
        if digest in self._programs_met:
            return False
        self._programs_met.add(digest)
        return not self._writes_answer(candidate, source)

    def _writes_answer(self, candidate: Candidate, source: bytes) -> bool:
        """Whether a body returns, as a literal, what but one test wants: that passes it and knows nothing."""
        if not any(token[0] in "'\"0123456789" for token in candidate.edit.tokens):
            return False
        module = Module(source)
        tree = syntax.parse(unit_source(module, self.stub.unit_in(module)))
        returned = (n.value for n in ast.walk(tree) if isinstance(n, ast.Return) and n.value)
        return any(_value(ast.unparse(value)) in self._answers for value in returned)

    def _tried(self, body: Body) -> Iterator[Event]:
        """Some more edits of a program, of which those that help become programs themselves. Returns Found or None."""
        path, before = self.stub.file.path, self.budget.tried

        def told(candidate: Candidate, verdict: Verdict) -> None:
            place = body.taken + self.budget.tried - before
            self._judge(body, candidate, verdict, place)

        assert body.candidates is not None
        patch = PatchedFiles({path: (self.stub.file.module.source, body.source)})
        return (
            yield from search(
                self.runner, self.run, body.candidates, self.tests, patch, self.budget, self.patience,
                Rejected(), most=AT_ONCE, told=told,  # what fails may still be built upon
            )
        )  # fmt: skip

    def _judge(self, body: Body, candidate: Candidate, verdict: Verdict, place: int) -> None:
        """Keep what an edit makes of a program, if it helps and is new. place: of the edit in the order, from 1."""
        results = verdict.results
        if verdict.passed or len(results) < len(self.tests.failing):
            return
        answers = _answers(results)
        if answers in self._met:
            return
        self._met.add(answers)
        codes = [answered(*pair) for pair in zip(body.results, results, strict=True)]
        if max(codes) < CHANGED:
            return
        cost = body.cost - math.log1p(body.taken) + self._progress(body.results) * _PROGRESS
        cost += math.log1p(place) + _EDIT - self._progress(results) * _PROGRESS
        child = Body(cost, next(self._numbers), candidate.source(), body.edits + 1, results)
        self._keep(child)
        assert self.best is not None
        if child.green > self.best.green:
            self.best = child

    def _progress(self, results: Sequence[TestResult]) -> float:
        """How near the answers are to the wanted ones, in [0, 1]."""
        return sum(map(self._near, results)) / max(1, len(results))

    def _near(self, result: TestResult) -> float:
        if result.outcome is Outcome.PASSED:
            return 1.0
        if result.exception != "AssertionError":
            return 0.0
        wanted = self._wanted.get(result.nodeid) or ""
        # of a failed comparison the worker tells the left side
        value = (result.message or "").removeprefix("assert ")
        return _ASSERTED + _NEAR * nearness(value, wanted)


def _value(text: str) -> str:
    """A literal as Python writes it; "" for anything else."""
    try:
        return repr(syntax.literal(text))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return ""


def _in_place_of_pass(stub: Stub, candidates: Iterator[Candidate]) -> Iterator[Candidate]:
    """Edits of a body that is `pass`: what writes a statement beside it takes its place."""
    given: set[tuple[str, ...]] = set()
    for candidate in candidates:
        edit = candidate.edit
        if edit.start == edit.end and edit.tokens[-1] in (NEWLINE, DEDENT):
            edit = dataclasses.replace(edit, start=stub.body, end=stub.body + 2)
            candidate = dataclasses.replace(candidate, edit=edit)
        if edit.tokens not in given and valid(candidate):
            given.add(edit.tokens)
            yield candidate


def _digest(source: bytes) -> bytes:
    return hashlib.blake2b(source, digest_size=16).digest()


def _answers(results: Sequence[TestResult]) -> tuple:
    return tuple((result.outcome, said(result)) for result in results)


def nearness(value: str, wanted: str) -> float:
    """How alike two values are, given as source text, in [0, 1]; 0 where they are of different types or no literals."""
    try:
        found, right = (syntax.literal(text) for text in (value, wanted))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return 0.0
    if type(found) is not type(right):
        return 0.0
    if isinstance(found, (int, float)):
        return 1 / (1 + abs(found - right))
    matcher = difflib.SequenceMatcher(None, value[:_LONGEST], wanted[:_LONGEST], False)
    return 0.2 + 0.8 * matcher.ratio()


__all__ = ["Growth", "nearness"]
