"""The commands around training data: data fetch, export, build, mutate, mine. Thin: options into calls of `trm.data`."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from agent import sets_cli
from agent.errors import UsageError

data_app = typer.Typer(help="Corpora to train on.", no_args_is_help=True)

OutOption = Annotated[Path, typer.Option("--out", metavar="D", help="Folder of the corpus.")]
MirrorOption = Annotated[
    Path, typer.Option("--mirror", metavar="D", help="Folder of the git directories.")
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="OWNER/NAME", help="Just this repository; repeatable."),
]
_TELL_EVERY = 5.0  # seconds


@data_app.command("fetch")
def fetch(
    mirror: MirrorOption,
    base: Annotated[
        str, typer.Option("--from", metavar="URL", help="Where owner/name is found.")
    ] = "https://github.com",
    only: OnlyOption = None,
) -> None:
    """Bring the recorded commits of the repositories in trm/data/sources.toml. Needs the network."""
    from trm.data.sources import SourceError, bring

    sources = _sources(only)
    missing = 0
    for number, source in enumerate(sources, 1):
        try:
            done = "fetched" if bring(source, mirror, base) else "there already"
        except SourceError as error:
            missing += 1
            done = f"not fetched: {str(error).splitlines()[0]}"
        _say(f"{number}/{len(sources)} {source.name}: {done}")
    print(mirror)
    if missing:
        _say(f"{missing} of {len(sources)} are missing; the same command tries them again")
        raise typer.Exit(1)


@data_app.command("export")
def export(
    mirror: MirrorOption,
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder to export to.")],
    only: OnlyOption = None,
) -> None:
    """Write the usable Python files of the fetched repositories; the totals go to stdout."""
    from trm.data.sources import SourceError, checkout, totals

    exports, missing = [], 0
    for source in _sources(only):
        try:
            exports.append(checkout(source, mirror, out))
        except SourceError as error:
            missing += 1
            _say(str(error))
    print(totals(exports))
    if missing:
        _say(f"{missing} repositories are missing: trm-agent data fetch brings them")
        raise typer.Exit(1)


def _sources(only: list[str] | None) -> tuple[Any, ...]:
    from trm.data.sources import SourceError, select

    try:
        return select(only or ())
    except SourceError as error:
        raise UsageError(str(error), "names are those of trm/data/sources.toml") from None


@data_app.command("build")
def build(
    out: OutOption,
    exports: Annotated[
        Path | None,
        typer.Option("--exports", metavar="D", help="What data export wrote, if anything."),
    ] = None,
    machine: Annotated[
        bool,
        typer.Option(
            "--machine/--no-machine", help="Take the standard library and installed packages too."
        ),
    ] = True,
    shards: Annotated[int, typer.Option(metavar="N", min=0, help="Training shards to have.")] = 16,
    first: Annotated[int, typer.Option(metavar="N", min=0, help="Number of the first shard.")] = 0,
    functions: Annotated[int, typer.Option(metavar="N", min=1, help="Functions a shard.")] = 3000,
    variants: Annotated[int, typer.Option(metavar="N", min=1, help="Bugs a function.")] = 1,
    executed: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Functions a shard that are also called, confined."),
    ] = 900,
    executed_variants: Annotated[
        int, typer.Option(metavar="N", min=1, help="Bugs a function that is called.")
    ] = 12,
    mined: Annotated[
        Path | None, typer.Option(metavar="D", help="What data mine wrote, to mix in fixes.")
    ] = None,
    fixes: Annotated[int, typer.Option(metavar="N", min=1, help="Fixes of --mined a shard.")] = 300,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Processes at once.")] = 1,
    vocab: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Use this vocabulary, of the weights to go on from."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Keep the parts that --out holds already.")] = True,
) -> None:
    """Collect functions, leave out the benchmarks', and break the rest into training examples.

    Sources are the exports of --exports, the standard library and installed packages of permissive licences. Parts that are
    finished are kept when the command is called again: functions, vocabulary, held-out shard, training shards.
    """
    if exports is not None and not exports.is_dir():
        raise UsageError(f"--exports {exports}: no such folder", "trm-agent data export makes it")
    if mined is not None and not (mined / "fixes.jsonl.gz").is_file():
        raise UsageError(f"--mined {mined}: no fixes there", "trm-agent data mine finds some")
    _vocabulary_there(vocab)
    from tools.calls import Caller
    from trm.config import ModelConfig
    from trm.data import build as building
    from trm.data.mined import repairs

    found = [] if mined is None else repairs(mined)
    recipe = building.Recipe(
        functions, variants, executed, executed_variants, calls=Caller, fixes=fixes if found else 0
    )
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "functions": functions, "variants": variants, "executed": executed, "executed-variants": executed_variants,
        "fixes": recipe.fixes,
    }  # fmt: skip
    _same_settings(out / "build.json", settings, resume)
    roots = building.default_roots(exports, machine)
    if resume and (out / "functions.json").is_file():
        _say("functions: kept")
    else:
        if not roots:
            raise UsageError("nothing to collect from", "give --exports, or leave out --no-machine")
        # what was made of other functions
        for name in ("functions.json", "alone.jsonl.gz", "vocab.json"):
            (out / name).unlink(missing_ok=True)
        resume = False
        summary = building.build_functions(roots, out, jobs, _Told())
        _say(f"functions: {summary['functions']} of {len(summary['packages'])} packages")
        if not summary["functions"]:
            (out / "functions.json").unlink()
            raise UsageError("no usable function was found", "export more repositories")
    if executed and not (out / "alone.jsonl.gz").is_file():
        _say(f"functions that can be called alone: {building.build_alone(roots, out)}")
    if vocab is not None:
        if resume and not _same_text(out / "vocab.json", vocab):
            raise UsageError(
                f"--vocab {vocab}: {out} was made with another one",
                "give another --out, or --no-resume",
            )
        shutil.copyfile(vocab, out / "vocab.json")
    elif not (resume and (out / "vocab.json").is_file()):
        sizes = ModelConfig()
        building.build_vocab(out, sizes.vocab, sizes.kinds, sizes.roles)
        _say("vocabulary: written")
    for made in building.build_eval(out, recipe, keep=resume):
        _tell(made)
    for made in building.build_shards(
        out, recipe, found, first=first, shards=shards, jobs=jobs, keep=resume
    ):
        _tell(made)
    print(out)


def _vocabulary_there(vocab: Path | None) -> None:
    if vocab is not None and not vocab.is_file():
        raise UsageError(f"--vocab {vocab}: no such file", "trm-agent data build writes one")


def _same_text(file: Path, other: Path) -> bool:
    return not file.is_file() or file.read_bytes() == other.read_bytes()


class _Told:
    """Progress of the collection, now and then."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, done: int, packages: int, functions: int) -> None:
        now = time.monotonic()
        if now - self.last > _TELL_EVERY:
            self.last = now
            _say(f"{done}/{packages} packages, {functions} functions")


def _same_settings(file: Path, settings: dict[str, int], resume: bool) -> None:
    """Shards of other settings must not be taken for these."""
    if resume and file.is_file():
        stated = json.loads(file.read_text("utf-8"))
        before = {**stated, "fixes": stated.get("fixes", 0)}  # there were none once
        if before != settings:
            was = " ".join(f"--{key} {value}" for key, value in before.items())
            raise UsageError(
                f"{file.parent} was built with {was}",
                "give the same, another --out, or --no-resume",
            )
    file.write_text(json.dumps(settings) + "\n", encoding="utf-8")


def _tell(made: Any) -> None:
    _say(f"{made.name}: {made.examples} examples, {made.executed} executed; {made.tried} tried")


@data_app.command("mutate")
def mutate(
    projects: Annotated[
        list[str],
        typer.Argument(metavar="PATH|GIT_URL...", help="Projects with a pytest suite that passes."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder of the mutants.")],
    python: Annotated[
        str | None,
        typer.Option(metavar="P", help="Interpreter of the tests.  [default: as fix finds it]"),
    ] = None,
    install: Annotated[
        bool,
        typer.Option(
            help="Make an environment for each project first, with what its tests need. Needs the network and uv."
        ),
    ] = False,
    per_function: Annotated[
        int, typer.Option(metavar="N", min=1, help="Mutants of a function.")
    ] = 8,
    seconds: Annotated[
        float,
        typer.Option(
            metavar="S",
            min=0,
            help="Wall time a project, after as much for its first run; 0: until all is done.",
        ),
    ] = 0.0,
    evidence: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="Of mutants that keep what edits in vain show: slow.",
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of all randomness.")] = 0,
    jobs: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Projects at once; --address: one a CPU of the cluster."
        ),
    ] = 1,
    engine: Annotated[
        str, typer.Option(metavar="E", help="Where projects run: local, ray (a Ray cluster).")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="A",
            help="Of a running Ray cluster: HOST:PORT or auto; a PATH must be there on each node.  [default: start Ray here]",
        ),
    ] = None,
    vocab: Annotated[
        Path | None,
        typer.Option(
            "--vocab",
            metavar="FILE",
            help="Vocabulary of the weights to go on from.  [default: the shipped weights']",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Keep the projects that --out holds already.")
    ] = True,
    pytest_args: Annotated[
        list[str] | None, typer.Option("--pytest", metavar="ARG", help="For pytest; repeatable.")
    ] = None,
) -> None:
    """Break what tests cover in real projects, run the tests on it, and keep what fix would see of each that fails.

    A URL is cloned into --out, or on the node where it runs. Everything runs confined, as candidates of fix do; the projects stay
    as they are. Shards to train on are made of all that --out holds.
    """
    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: no such engine", "one of: local, ray")
    if address is not None and engine != "ray":
        raise UsageError("--address is of a Ray cluster", "give --engine ray too")
    from agent.cluster import mutate_on_ray
    from agent.mutate import mutate_all
    from agent.projects import Task
    from trm.checkpoint import VOCAB, shipped
    from trm.data import mutants
    from trm.vocab import Vocab

    vocab = vocab or shipped() / VOCAB
    _vocabulary_there(vocab)
    (out / "parts").mkdir(parents=True, exist_ok=True)
    extra = tuple(pytest_args or ()), per_function, seconds, seed, install, evidence
    tasks = [Task(name, out, python, *extra) for name in dict.fromkeys(projects)]
    if resume:
        kept = [task for task in tasks if task.part.is_file()]
        tasks = [task for task in tasks if not task.part.is_file()]
        for task in kept:
            _say(f"{task.package}: kept")
    refused = 0
    done = mutate_on_ray(tasks, jobs, address) if engine == "ray" else mutate_all(tasks, jobs)
    for number, (task, said, bad) in enumerate(done, 1):
        refused += bad
        _say(f"{number}/{len(tasks)} {task.package}: {said}")
    for name, examples, tried in mutants.build_shards(out, Vocab.load(vocab)):
        _say(f"{name}: {examples} examples of {tried} mutants")
    print(out)
    if refused:
        _say(f"{refused} of {len(tasks)} projects gave nothing")
        raise typer.Exit(1)


@data_app.command("mine")
def mine(
    mirror: MirrorOption,
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder of the fixes.")],
    only: OnlyOption = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Processes at once.")] = 1,
    resume: Annotated[
        bool, typer.Option(help="Keep the repositories that --out holds already.")
    ] = True,
    vocab: Annotated[
        Path | None,
        typer.Option(
            "--vocab",
            metavar="FILE",
            help="Vocabulary of the weights to go on from.  [default: D/vocab.json]",
        ),
    ] = None,
    profile: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Fixes to look for among the edits of the operators."
        ),
    ] = 0,
    executed: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Suites of calls of each function before and after its fix, confined; 0: nothing runs.",
        ),
    ] = 4,
) -> None:
    """Find real fixes of functions in the histories of the repositories, and make training shards of them.

    The mirror must hold the histories, which data fetch does not bring. What needs only the standard library and its own package
    is called as well. Shards are made where there is a vocabulary: D/shards of the text, D/executed/shards of what calls show.
    """
    from trm.data import fixes as fx
    from trm.data import mine as mining
    from trm.data.sources import SourceError, git_directory

    _vocabulary_there(vocab)
    there, missing = [], 0
    for source in _sources(only):
        try:
            git_directory(source, mirror)
            there.append(source)
        except SourceError as error:
            missing += 1
            _say(str(error))
    if not there:
        raise UsageError(
            f"{mirror} holds none of the repositories", "git clone --bare brings them there"
        )

    def told(done: int, tasks: int, name: str, fixes: int, commits: int) -> None:
        _say(f"{done}/{tasks} {name}: {fixes} fixes of {commits} commits")

    try:
        summary = mining.mine(there, mirror, out, jobs=jobs, resume=resume, progress=told)
    except SourceError as error:
        raise UsageError(str(error), "bring its history: git clone --bare") from None
    for key in ("commits", "fixes", "fixlike", "touches_tests", "held_out"):
        print(f"{key:14} {summary[key]:>8}")
    for group in ("kinds", "licences", "dropped"):
        for name, number in summary[group].items():
            print(f"{group:14} {number:>8}  {name}")
    if profile:
        from trm.data import mined

        sample = mined.sample_for_profile(fx.read(out / "fixes.jsonl.gz"), profile)
        profiled = mined.operator_profile(sample)
        mined.save_profile(profiled, out / "profile.json")
        for line in profiled.lines():
            print(line)
    vocab = vocab or out / "vocab.json"
    if vocab.is_file():
        from trm.data import mined
        from trm.vocab import Vocab

        for name, examples, tried in mined.build_shards(out, Vocab.load(vocab)):
            _say(f"{name}: {examples} examples of {tried} fixes")
        if executed:
            from tools.calls import Caller
            from trm.data import replay

            for name, fixes, others in replay.replay_all(
                there, mirror, out, Caller, suites=executed, jobs=jobs, resume=resume
            ):
                _say(f"{name}: {fixes} fixes seen by calls, {sum(others.values())} not")
            for name, examples, tried in replay.build_shards(out, Vocab.load(vocab)):
                _say(f"executed/{name}: {examples} examples of {tried} suites")
    print(out)
    if missing:
        _say(f"{missing} of {missing + len(there)} repositories are missing")
        raise typer.Exit(1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


data_app.command("info")(sets_cli.info)
data_app.command("convert")(sets_cli.convert)
