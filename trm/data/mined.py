"""What mined fixes are for: shards to train on, and how the operators compare with what people repair."""

from __future__ import annotations

import builtins
import json
import keyword
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.source.edits import Edit
from tools.source.leaves import LAYOUT, Module
from tools.source.operators import Scope, canonical, enumerate_edits
from trm.data import fixes as fx
from trm.data.corrupt import as_text, shown_names
from trm.data.fixes import Fix
from trm.data.pipeline import ShardWriter
from trm.encode import Encoded, Target
from trm.vocab import Vocab

CAP = 2000  # fixes a repository, so that no giant dominates
_MOST_EDITS = 60_000  # enumerated for one function
_KEPT = frozenset({*dir(builtins), *keyword.kwlist, "self", "cls"})


def example(
    vocab: Vocab, fix: Fix, rng: random.Random, *, executed: float = 0.5
) -> tuple[Encoded, list[Target]] | None:
    """One training example of a fix, as `corrupt.example` makes them of a mutant; None if it does not fit the heads."""
    leaves = Module(fix.before.encode("utf-8")).leaves
    shown = shown_names(fix.names, rng)
    made = as_text(vocab, leaves, fix.edits, shown, rng, executed)
    # half of a pair repairs nothing
    return made if made is not None and len(made[1]) == len(fix.edits) else None


def reserved(commit: str) -> bool:
    """Whether the fixes of a commit are kept to measure by, though its repository is not held out: a quarter is."""
    return int(commit[:8], 16) % 4 == 0


def repairs(mined: Path, *, all_of_them: bool = False) -> list[Fix]:
    """What `mined`/fixes.jsonl.gz has to be mixed among mutants: changes of code that speak of a fault.

    A shuffled order that is always the same; at most CAP of a repository. all_of_them: also what is held out or `reserved`.
    """
    return _capped(
        fix
        for fix in _shuffled(mined)
        if fix.fixlike
        and fix.kind != "string"
        and (all_of_them or not (fix.held_out or reserved(fix.commit)))
    )


def _shuffled(mined: Path) -> list[Fix]:
    fixes = list(fx.read(mined / "fixes.jsonl.gz"))
    random.Random(0).shuffle(fixes)
    return fixes


def _capped(fixes: Iterable[Fix]) -> list[Fix]:
    per_package: Counter[str] = Counter()
    kept: list[Fix] = []
    for fix in fixes:
        per_package[fix.package] += 1
        if per_package[fix.package] <= CAP:
            kept.append(fix)
    return kept


def build_shards(
    mined: Path, vocab: Vocab, *, per_shard: int = 4000
) -> Iterator[tuple[str, int, int]]:
    """Write `mined`/shards anew from `mined`/fixes.jsonl.gz; yields (shard, examples, fixes tried).

    shard-NNNNN hold the fixes of repositories that may be trained on, at most CAP each, in random order; eval-00000 the fixes
    of held-out ones with a single edit. The folder has the vocabulary too, so that it is a corpus for `train`.
    """
    folder = mined / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    vocab.save(folder / "vocab.json")
    everything = _shuffled(mined)
    training = _capped(fix for fix in everything if not (fix.held_out or reserved(fix.commit)))
    held_out = [
        fix for fix in everything if fix.held_out and len(fix.edits) == 1 and fix.kind != "string"
    ]
    parts = [
        (f"shard-{number:05d}", training[start : start + per_shard])
        for number, start in enumerate(range(0, len(training), per_shard))
    ]
    for number, (name, part) in enumerate([("eval-00000", held_out), *parts]):
        rng = random.Random(number)
        writer = ShardWriter()
        for fix in part:
            made = example(vocab, fix, rng)
            if made is not None:
                writer.add(*made)
        if len(writer.table):
            writer.write(folder / name)
            yield name, len(writer.table), len(part)


@dataclass
class Profile:
    """Which operator explains how many fixes: (operator, tier) -> count; `missed` are the shapes that none reaches."""

    tried: int = 0
    reached: Counter[tuple[str, int]] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    enumerated: int = 0

    def lines(self, shapes: int = 60) -> Iterator[str]:
        """A table of operators, then the commonest shapes that are not reached."""
        reached, tried = self.reached.total(), max(1, self.tried)
        yield f"{self.tried} fixes of one edit; {reached} ({reached / tried:.1%}) are among the edits of tiers 1 to 4"
        yield f"{self.enumerated / tried:.0f} edits looked at a fix, on the average"
        tiers = Counter(tier for (_, tier), count in self.reached.items() for _ in range(count))
        yield "tiers: " + ", ".join(f"{tier}: {tiers[tier]}" for tier in sorted(tiers))
        for (name, tier), count in self.reached.most_common():
            yield f"{count:6} {count / tried:7.2%}  tier {tier}  {name}"
        yield f"not reached: {self.missed.total()} of {len(self.missed)} shapes"
        for shape, count in self.missed.most_common(shapes):
            yield f"{count:6}  {shape}"


def sample_for_profile(fixes: Iterable[Fix], size: int) -> list[Fix]:
    """A random sample of the fixes with one edit that are more than another message."""
    chosen = [fix for fix in fixes if fix.fixlike and fix.kind not in ("pair", "string")]
    random.Random(0).shuffle(chosen)
    return chosen[:size]


def operator_profile(fixes: Sequence[Fix], seconds: float = 0.0) -> Profile:
    """For each fix of one edit the first operator among whose edits it is. Stops after `seconds`, 0 for no limit."""
    profile = Profile()
    stop = time.monotonic() + seconds
    for fix in fixes:
        if seconds and time.monotonic() > stop:
            break
        explain(fix, profile)
    return profile


def explain(fix: Fix, profile: Profile) -> tuple[str, int] | None:
    """Count one fix in the profile; the operator and its tier, or None."""
    module = Module(fix.before.encode("utf-8"))
    unit = module.units[0]
    texts = [leaf.text for leaf in module.leaves]
    wanted = canonical(texts, fix.edits[0])
    profile.tried += 1
    scope = Scope.of(module, unit, extra_names=fix.names)
    for number, candidate in enumerate(enumerate_edits(module, unit, scope)):
        if number >= _MOST_EDITS:
            break
        profile.enumerated += 1
        if canonical(texts, candidate.edit) == wanted:
            profile.reached[candidate.operator, candidate.tier] += 1
            return candidate.operator, candidate.tier
    profile.missed[shape_of(texts, fix.edits[0])] += 1
    return None


def shape_of(texts: Sequence[str], edit: Edit) -> str:
    """The edit as "removed -> written": names are n1, n2, ..., attributes a1, ..., numbers 0, strings "s"."""
    names: dict[tuple[str, str], str] = {}

    def abstract(tokens: Sequence[str], previous: str) -> str:
        out: list[str] = []
        for token in tokens:
            if token in LAYOUT:
                out.append({"<NEWLINE>": "NL", "<INDENT>": "IN"}.get(token, "DE"))
            elif token[0].isdigit():
                out.append("0")
            elif token.lstrip("rbufRBUF")[:1] in ("'", '"'):
                out.append('"s"')
            elif previous == "." and token.isidentifier():
                out.append(
                    names.setdefault(("a", token), f"a{1 + sum(k[0] == 'a' for k in names)}")
                )
            elif token.isidentifier() and token not in _KEPT:
                out.append(
                    names.setdefault(("n", token), f"n{1 + sum(k[0] == 'n' for k in names)}")
                )
            else:
                out.append(token)
            previous = token
        return " ".join(out) or "nothing"

    before = texts[edit.start - 1] if edit.start else ""
    removed = abstract(texts[edit.start : edit.end], before)
    return f"{removed} -> {abstract(edit.tokens, before)}"


def save_profile(profile: Profile, path: Path) -> None:
    """As JSON, for what fits `corrupt.WEIGHTS`."""
    stored = {
        "tried": profile.tried,
        "reached": [[name, tier, count] for (name, tier), count in profile.reached.most_common()],
        "missed": dict(profile.missed.most_common(500)),
    }
    path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
