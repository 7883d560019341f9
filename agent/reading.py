"""Reading suspects with the model: from a first run to one ranked stream of candidates, told as events."""

from __future__ import annotations

import functools
import gc
import itertools
import math
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import decide, locate, suggest
from agent.budget import Budget
from agent.candidates import Candidate, by_tier, suggested
from agent.errors import CheckpointError
from agent.events import Event, Interval, Note, RecursionStep, Suspect
from agent.first_run import test_literals
from agent.hints import HintStream
from agent.propose import ModelStream, biases, merged, shares
from agent.recent import Recent
from tools.source.edits import Edit
from tools.source.leaves import Module
from tools.source.operators import Scope
from tools.source.parts import header_of
from tools.verdicts import SuiteRun
from trm.data.functions import Surroundings

if TYPE_CHECKING:
    from trm.encode import Encoded

SHOWN_SUSPECTS = 5
READ_UNITS = 8  # suspect units that the model reads at first
MOST_READ = 100  # that it reads at all, while candidates are validated
WAIT_SECONDS = 3.0  # for the model, before candidates come without it


_surroundings = functools.lru_cache(maxsize=64)(Surroundings)  # a file has many suspects


def encode_suspect(vocab: Any, suspect: locate.Suspect, run: SuiteRun) -> Encoded:
    """The unit as the model reads it: its leaves, names in reach, and what the tests of `run` showed of it.

    Of a part: the header, its leaves, and first among the names those that the rest of the unit has bound.
    """
    from trm.encode import encode

    module, unit = suspect.file.module, suspect.unit
    first, last = header_of(module, unit, suspect.start)
    leaves = [*module.leaves[first:last], *module.leaves[suspect.start : suspect.end]]
    bound = () if suspect.part is None else Scope.of(module, unit).locals
    names = dict.fromkeys([*bound, *_surroundings(module).near(unit)])
    failure = locate.failure_text(locate.failure_of(suspect, run))
    return encode(
        vocab, leaves, names=list(names), execution=locate.execution_of(suspect, run), failure=failure, header=last - first
    )  # fmt: skip


class Reader:
    """Who orders the candidates: the model (`trm`, `untrained`), or one of the controls (`ochiai`, `random`).

    The weights are loaded and compiled in a thread of their own while the suite runs for the first time; `predictor` is one that
    is loaded already. Where that takes much longer than the suite (the first start on a machine) and no checkpoint was asked for,
    candidates come in the order of suspicion meanwhile: `provisional` says that `candidates` is to be asked
    again once they are used up.
    """

    def __init__(
        self, rank: str, checkpoint: Path | None, seed: int, budget: Budget, predictor: Any = None
    ) -> None:
        self.rank, self.checkpoint, self.seed, self.budget = rank, checkpoint, seed, budget
        self._analyses: dict[tuple[str, str, int, int, bool], Any] = {}
        self._predictor = predictor
        self._error: BaseException | None = None
        self._closed = False
        self._recent: Recent | None = None
        self.provisional = False
        # meanwhile, by the tests that fail: those of one cause tell nothing of those of another
        self._tried: dict[frozenset[str], set[tuple[Module, Edit]]] = {}
        self._thread: threading.Thread | None = None
        self.reads = rank in ("trm", "untrained")
        if self.reads and predictor is None:
            # no daemon: one that compiles when the interpreter goes away takes the process with it (abort)
            self._thread = threading.Thread(target=self._load)
            self._thread.start()

    def close(self) -> None:
        """The model is not needed any more: what loads it stops soon."""
        self._closed = True

    def _load(self) -> None:
        gc.disable()  # while JAX is imported a full collection takes 0.1 s, in which no key is answered
        try:
            from trm.predict import Predictor
            from trm.warm import compile_apart

            if self._closed:
                return
            predictor = Predictor(
                self.checkpoint, untrained=self.rank == "untrained", seed=self.seed
            )
            compile_apart(predictor, self.checkpoint, lambda: self._closed)
            for _ in predictor.warm():
                if self._closed:
                    return
            self._predictor = predictor
        except BaseException as error:  # raised by `predictor`, where it belongs
            self._error = error
        finally:
            gc.freeze()  # nor need later ones go through all that stays
            gc.enable()

    @property
    def predictor(self) -> Any:
        """The loaded model; waits for it. Raises CheckpointError."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            hint = "omit --checkpoint to use the shipped weights"
            raise CheckpointError(str(self._error), hint) from self._error
        return self._predictor

    def candidates(
        self, run: SuiteRun, sources: locate.Sources, found: Sequence[locate.Suspect], broken: bool
    ) -> Iterator[Event]:
        """Tell how the suspects are read; returns the candidates, likeliest first.

        broken: the suite does not collect; then there is no trace to read and suggestions and tiers must do.
        """
        literals = test_literals(run)
        tried = self._tried.setdefault(frozenset(run.failing), set())
        cheap: Iterator[Candidate] = suggested(suggest.suggestions(run, sources), found)
        if self._recent is None:
            self._recent = Recent(sources.root)
        hints = HintStream(run, sources.root, found, self._recent)
        if not self.reads or broken:
            rank = "ochiai" if self.reads else self.rank
            controls = by_tier(found[:40], rank, self.seed, literals, hints=hints.steps())
            return itertools.chain(cheap, controls)
        if self._thread is not None and self._thread.is_alive():
            # weights that were asked for are waited for
            wait = WAIT_SECONDS if self.checkpoint is None else math.inf
            self._thread.join(min(wait, self.budget.left))
            if self._thread.is_alive():
                if not self.provisional:
                    yield Note(
                        "the model is being compiled, once on a machine: the likeliest lines come first meanwhile",
                        at=self.budget.at,
                    )
                self.provisional = True
                controls = by_tier(found[:40], "ochiai", self.seed, literals, hints=hints.steps())
                return self._meanwhile(itertools.chain(cheap, controls), self._thread, tried)
        self.provisional = False
        predictor = self.predictor
        parts = list(map(locate.parts, found))
        readable = sorted(itertools.chain(*parts), key=lambda s: -s.prior)
        # what is longer than a part comes at the end
        whole = [suspect for suspect, some in zip(found, parts, strict=True) if len(some) > 1]
        bias = biases(readable)
        standing = dict(zip(map(id, readable), zip(bias, shares(bias), strict=True), strict=True))

        def stream_of(suspect: locate.Suspect, shown: bool = False) -> ModelStream:
            analysis = self._read(predictor, suspect, run, shown)
            bias, share = standing[id(suspect)]
            return ModelStream(suspect, analysis, predictor, bias, literals, share=share)

        streams: list[ModelStream] = []
        for rank, suspect in enumerate(readable[:READ_UNITS]):
            if self.budget.over():
                break
            streams.append(stream_of(suspect, rank < SHOWN_SUSPECTS))
        # the most suspect unit last: what is told last stays on the screen
        for stream in reversed(streams[:SHOWN_SUSPECTS]):
            yield from self._show_recursion(stream.suspect, stream.analysis)
        if streams:
            yield from self._show_interval(streams[0])
            plural = "" if len(streams) == 1 else "s"
            yield Note(f"ranking edits of {len(streams)} suspect{plural}", at=self.budget.at)
        later = readable[READ_UNITS:MOST_READ]
        unread = [
            (standing[id(suspect)][0], functools.partial(stream_of, suspect)) for suspect in later
        ]
        everything = itertools.chain(
            cheap,
            merged([*streams, hints], unread),
            by_tier([*readable[MOST_READ:], *whole][:60], "ochiai", self.seed, literals),
        )
        return _once(everything, tried)

    @staticmethod
    def _meanwhile(
        candidates: Iterator[Candidate], thread: threading.Thread, tried: set[tuple[Module, Edit]]
    ) -> Iterator[Candidate]:
        """Candidates until the model is there, remembered."""
        for candidate in candidates:
            if not thread.is_alive():
                return
            key = candidate.suspect.file.module, candidate.edit
            if key not in tried:
                tried.add(key)
                yield candidate

    def _read(self, predictor: Any, suspect: locate.Suspect, run: SuiteRun, shown: bool) -> Any:
        """The unit's analysis; only where it is `shown` with the greedy edits of its steps."""
        module, unit = suspect.file.module, suspect.unit
        text_before = module.source[: module.leaves[unit.end - 1].end]
        failing = sorted(run.failing)
        key = suspect.file.path, unit.name, suspect.start, hash((text_before, *failing))
        for greedy in (True, shown):  # what was once read with them serves for both
            if (known := self._analyses.get((*key, greedy))) is not None:
                return known
        encoded = encode_suspect(predictor.vocab, suspect, run)
        made = self._analyses[*key, shown] = predictor.analyse(encoded, greedy=shown)
        return made

    def _show_recursion(self, suspect: locate.Suspect, analysis: Any) -> Iterator[Event]:
        leaves = suspect.file.module.leaves
        base, header = suspect.start, analysis.encoded.header
        total = self.predictor.config.steps
        for number, step in enumerate(analysis.steps, 1):
            heat = []
            mass = step.start[header + 1 : -1]
            for index in mass.argsort()[::-1][:24]:
                leaf = leaves[base + int(index)]
                if not leaf.is_layout and mass[index] > 0.004:
                    column = leaf.start - suspect.file.module.line_start(leaf.line)
                    heat.append((leaf.line, column, len(leaf.text), round(float(mass[index]), 4)))
            best = step.best
            text, line, probability = "no bug here", 0, float(step.start[0])
            if best is not None:
                removed = " ".join(
                    leaf.text for leaf in leaves[base + best.start : base + best.end]
                )
                text = f"- {removed}\n+ {' '.join(best.tokens)}"
                line = suspect.line_of(base + best.start)
                probability = math.exp(best.log_probability)
            rows = step.bits[:: max(1, len(step.bits) // 16)][:16]
            bits = tuple(int(b) for b in rows.ravel())
            halted = decide.halt(step.halt, number, total)
            yield RecursionStep(suspect.name, number, total, bits, round(step.halt, 4), bool(halted.bit), text, line,
                                round(probability, 5), tuple(heat), at=self.budget.at)  # fmt: skip
            yield self.budget.stamp(halted)

    def _show_interval(self, stream: ModelStream) -> Iterator[Event]:
        suspect = stream.suspect
        unit = suspect.unit
        mass = [0.0] * (unit.last_line - unit.first_line + 1)
        leaves = suspect.file.module.leaves
        for index, value in enumerate(stream.analysis.leaf_mass):
            line = leaves[suspect.start + index].line
            mass[line - unit.first_line] += float(value) * suspect.scores.get(line, 0.02)
        total = sum(mass) or 1.0
        yield Interval(suspect.file.path, unit.first_line, unit.last_line, 1.0, at=self.budget.at)
        for first, last, kept, bit, margin in locate.halve([m / total for m in mass]):
            low, high = unit.first_line + first, unit.first_line + last
            yield self.budget.stamp(decide.side(bit, margin, low, high))
            yield Interval(suspect.file.path, low, high, round(kept, 4), at=self.budget.at)


def _once(
    candidates: Iterator[Candidate], tried: Collection[tuple[Module, Edit]]
) -> Iterator[Candidate]:
    """Without those that were tried and repetitions: two parts of a unit have some in common."""
    given: set[tuple[Module, Edit]] = set()
    for candidate in candidates:
        key = candidate.suspect.file.module, candidate.edit
        if key not in tried and key not in given:
            given.add(key)
            yield candidate


def show_suspects(found: Sequence[locate.Suspect], budget: Budget) -> Iterator[Event]:
    """The most suspect units with their text and the suspicion of every line."""
    for rank, suspect in enumerate(found[:SHOWN_SUSPECTS]):
        unit, module = suspect.unit, suspect.file.module
        lines = module.source.decode("utf-8", "replace").splitlines()[
            unit.first_line - 1 : unit.last_line
        ]
        scores = tuple(
            round(suspect.scores.get(n, 0.0), 4) for n in range(unit.first_line, unit.last_line + 1)
        )
        yield Suspect(
            rank,
            suspect.file.path,
            unit.name,
            unit.first_line,
            "\n".join(lines),
            scores,
            at=budget.at,
        )
