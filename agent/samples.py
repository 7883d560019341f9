"""A handful of functions to look at while a network is trained: held out, broken once, and what it proposes for them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import random
import sys
from pathlib import Path
from typing import Any

from tools.source.edits import Edit, EditError, splice
from tools.source.leaves import Module, SourceError
from trm.checkpoint import VOCAB, CheckpointError
from trm.data import functions as fn
from trm.data.corrupt import WEIGHTS, Broken, as_text, break_function
from trm.data.functions import held_out
from trm.encode import Encoded
from trm.predict import Predictor
from trm.vocab import Vocab

NUMBER = 6
LONGEST = 128  # positions of one that is shown: a look must not hold the training up
SCANNED = 4000  # functions of the corpus that are read to find them


@functools.cache
def _of(corpus: Path) -> Samples:
    return Samples(corpus, Vocab.load(corpus / VOCAB))


def looked_at(corpus: Path, out: Path, step: int) -> dict[str, Any]:
    """The samples of a corpus under the weights that a training saved into `out`, beside its reports.

    Whatever goes wrong is told on stderr and nothing is shown: a look must not end the training.
    """
    try:
        samples = _of(corpus).look(out / "weights")
    except Exception as error:
        print(f"no samples: {type(error).__name__}: {error}", file=sys.stderr)
        samples = []
    return {"step": step, "samples": samples}


class Samples:
    """The same functions, broken in the same way, each time that `look` is called. corpus: a folder of `data build`."""

    def __init__(self, corpus: Path, vocab: Vocab, number: int = NUMBER, seed: int = 0) -> None:
        self._broken: list[tuple[fn.Function, Broken, Encoded]] = []
        rng = random.Random(seed)
        try:
            read = itertools.islice(fn.read(corpus / "functions.jsonl.gz"), SCANNED)
            for function in (f for f in read if held_out(f.package)):
                if len(self._broken) == number:
                    break
                self._add(function, vocab, rng)
        except OSError:  # a corpus without its functions: there is nothing to show
            pass

    def _add(self, function: fn.Function, vocab: Vocab, rng: random.Random) -> None:
        try:
            module = Module(function.source.encode())
        except SourceError:
            return
        broken = break_function(module, 1, rng, WEIGHTS, function.names)
        if broken is None:
            return
        made = as_text(vocab, broken.module.leaves, broken.fixes, function.near, rng, 1.0)
        if made is not None and made[1] and made[0].length <= LONGEST:
            self._broken.append((function, broken, made[0]))

    def look(self, weights: Path) -> list[dict[str, Any]]:
        """What the weights propose, as `agent.faces.tui.training.Sample` takes it; [] where they cannot be loaded."""
        try:
            predictor = Predictor(weights)
        except CheckpointError:
            return []
        return [
            self._one(predictor, function, broken, encoded)
            for function, broken, encoded in self._broken
        ]

    @staticmethod
    def _one(predictor: Predictor, function: fn.Function, broken: Broken, encoded: Encoded) -> dict[str, Any]:  # fmt: skip
        source = broken.module.source
        right = splice(broken.module, broken.fixes[0]).apply(source)
        found = predictor.propose(predictor.analyse(encoded), 1, rounds=4)
        proposed, probability = source, 0.0
        if found:
            edit = Edit(found[0].start, found[0].end, found[0].tokens)
            probability = math.exp(found[0].log_probability)
            with contextlib.suppress(EditError):
                proposed = splice(broken.module, edit).apply(source)
        return {
            "name": function.name,
            "broken": changed_line(source, right),
            "right": changed_line(right, source),
            "proposed": changed_line(proposed, source),
            "hit": proposed == right,
            "probability": round(probability, 4),
        }


def changed_line(text: bytes, other: bytes) -> str:
    """The first line of `text` that differs from `other`'s, "" where none does."""
    mine, theirs = (source.decode("utf-8", "replace").split("\n") for source in (text, other))
    pairs = itertools.zip_longest(mine, theirs, fillvalue="")
    return next((one.strip() for one, two in pairs if one != two), "")
