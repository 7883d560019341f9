"""From git directories to training shards by the command line, and what is kept when it is called again."""

import subprocess
from pathlib import Path

import pytest

from agent.cli import run
from tools.source.edits import Edit
from trm.checkpoint import shipped
from trm.data import fixes
from trm.data.feed import Batches
from trm.data.functions import held_out
from trm.data.pipeline import Shard
from trm.data.sources import Source, SourceError, bring, checkout

BODY = """
def total_{n}(values, limit={n}):
    result = {n}
    for index, value in enumerate(values):
        if value > limit and index != {n}:
            result += value * {n}
        elif not value:
            result -= 1
    return result
"""


def corpus(folder: Path, *more: str) -> int:
    return run(
        ["data", "build", "--out", str(folder / "corpus"), "--exports", str(folder / "exports"),
         "--no-machine", "--functions", "8", "--variants", "2", *more]
    )  # fmt: skip


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """Two recorded repositories with functions of this test: one is trained on, one is held out."""
    assert held_out("pypa/flit")
    assert not held_out("Delgan/loguru")
    for number, name in enumerate(("Delgan+loguru", "pypa+flit")):
        folder = tmp_path / "exports" / name
        folder.mkdir(parents=True)
        source = "".join(BODY.format(n=1000 * number + 2 + i) for i in range(12))
        (folder / "module.py").write_text(source)
    return tmp_path


def test_build_makes_a_corpus_and_goes_on_where_it_was(exports: Path, capsys) -> None:
    assert corpus(exports, "--shards", "1") == 0
    made = exports / "corpus"
    first = (made / "shard-00000" / "ints.npy").stat()
    vocabulary = (made / "vocab.json").stat().st_mtime_ns
    assert len(Shard(made / "eval-00000")) > 4
    capsys.readouterr()
    assert corpus(exports, "--shards", "3", "--jobs", "2") == 0
    said = capsys.readouterr()
    assert "functions: kept" in said.err
    assert "shard-00000" not in said.err
    assert "shard-00002" in said.err
    assert (made / "shard-00000" / "ints.npy").stat().st_mtime_ns == first.st_mtime_ns
    assert (made / "vocab.json").stat().st_mtime_ns == vocabulary
    assert run(["data", "info", str(made)]) == 0
    assert "functions  24 of 2 packages, 1 held out" in capsys.readouterr().out


def test_processes_do_not_change_the_shards(exports: Path) -> None:
    assert corpus(exports, "--shards", "2") == 0
    shards = [exports / "corpus" / f"shard-0000{n}" / "ints.npy" for n in (0, 1)]
    before = [shard.read_bytes() for shard in shards]
    assert corpus(exports, "--shards", "2", "--jobs", "2", "--no-resume") == 0
    assert [shard.read_bytes() for shard in shards] == before


def test_other_settings_and_nothing_to_read_are_refused(exports: Path, capsys) -> None:
    assert corpus(exports, "--shards", "0") == 0
    assert corpus(exports, "--variants", "3") == 2
    assert "was built with --functions 8 --variants 2" in capsys.readouterr().err
    assert run(["data", "build", "--out", str(exports / "other"), "--no-machine"]) == 2
    assert "nothing to collect from" in capsys.readouterr().err
    assert run(["data", "export", "--mirror", "m", "--out", "o", "--only", "no/such"]) == 2
    assert "not in" in capsys.readouterr().err


def mined(package: str, commit: str = "c1", **more: object) -> fixes.Fix:
    before, after = (f"def first(items):\n    return items[{n}]\n" for n in (1, 0))
    edit = Edit(11, 12, ("0",))
    told = {
        "fixlike": True,
        "touches_tests": True,
        "held_out": False,
        "kind": "replace",
        "functions": 1,
    }
    return fixes.Fix(before, after, "first", (), f"{package}:m.py:first", "MIT", commit, "Fix first",
                     edits=(edit,), **{**told, **more})  # fmt: skip


def test_mined_fixes_are_mixed_among_the_mutants(exports: Path, capsys) -> None:
    folder = exports / "mined"
    assert corpus(exports, "--shards", "1", "--mined", str(folder)) == 2
    assert "no fixes there" in capsys.readouterr().err
    folder.mkdir()
    kept = [mined(f"a/{n}") for n in range(3)]
    other = [
        mined("b/b", held_out=True),
        mined("b/c", fixlike=False),
        mined("b/d", kind="string"),
        mined("b/e", "c0"),
    ]
    fixes.write(folder / "fixes.jsonl.gz", [*kept, *other])
    sizes = []
    for number, more in enumerate(([], ["--mined", str(folder), "--fixes", "10"])):
        root = exports / str(number)
        root.mkdir()
        (root / "exports").symlink_to(exports / "exports")
        assert corpus(root, "--shards", "1", "--executed", "0", *more) == 0
        sizes.append(len(Shard(root / "corpus" / "shard-00000")))
    assert sizes[1] == sizes[0] + len(kept)


def test_the_vocabulary_of_weights_can_be_taken(exports: Path, capsys) -> None:
    assert corpus(exports, "--shards", "0", "--vocab", str(exports / "none.json")) == 2
    assert "no such file" in capsys.readouterr().err
    shipped_vocab = shipped() / "vocab.json"
    assert corpus(exports, "--shards", "1", "--vocab", str(shipped_vocab)) == 0
    assert (exports / "corpus" / "vocab.json").read_bytes() == shipped_vocab.read_bytes()
    other = exports / "other.json"
    other.write_bytes(shipped_vocab.read_bytes() + b" ")
    assert corpus(exports, "--shards", "1", "--vocab", str(other)) == 2
    assert "was made with another one" in capsys.readouterr().err


def test_a_corpus_that_fills_no_batch_is_an_error_and_not_a_wait(exports: Path) -> None:
    assert corpus(exports, "--shards", "1") == 0
    with pytest.raises(FileNotFoundError, match="fills a batch of 65536 positions"):
        next(iter(Batches([exports / "corpus"], 65536, 0)))


def test_a_recorded_commit_is_fetched_once_and_can_be_exported(tmp_path: Path) -> None:
    work = tmp_path / "from" / "owner" / "name"
    work.mkdir(parents=True)
    (work / "code.py").write_text("x = 1\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", *command], cwd=work, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=work, check=True, capture_output=True)
    source = Source("owner/name", "MIT", head.stdout.decode().strip(), "library")
    mirror, base = tmp_path / "mirror", (tmp_path / "from").as_uri()
    with pytest.raises(SourceError, match="git fetch failed"):
        bring(source, mirror, (tmp_path / "nowhere").as_uri())
    assert bring(source, mirror, base)
    assert not bring(source, mirror, base)
    assert checkout(source, mirror, tmp_path / "out").files == 1
