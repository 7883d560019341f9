"""The house's arrows: who may import whom, what `--help` may cost, how long a module may be."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for name in ("agent", "trm", "tools") for path in (ROOT / name).rglob("*.py"))
HEAVY = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax",
    "grain",
    "textual",
    "numpy",
    "git",
    "tokenizers",
    "tree_sitter",
)
LONGEST = 450


def name_of(path: Path) -> str:
    return (
        path.relative_to(ROOT)
        .with_suffix("")
        .as_posix()
        .replace("/", ".")
        .removesuffix(".__init__")
    )


def imports_of(path: Path, everywhere: bool = True) -> set[str]:
    """Full names that a file imports; with `everywhere` also within functions."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import; the project writes full names")
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_arrows_also_hold_for_imports_within_functions(path: Path) -> None:
    """Allow-lists, which import-linter's contracts cannot express: agent -> trm -> tools.source; agent -> tools."""
    module, names = name_of(path), imports_of(path)
    ours = {name for name in names if within(name, "agent", "trm", "tools")}
    if within(module, "agent.faces"):
        allowed: tuple[str, ...] = ("agent.faces", "agent.events")
    elif within(module, "agent"):
        allowed = ("agent", "trm", "tools")
    elif within(module, "trm"):
        allowed = ("trm", "tools.source")
    elif within(module, "tools.source"):
        allowed = ("tools.source",)
    elif within(module, "tools.worker"):
        allowed = ()  # it runs under the user's Python, where nothing of ours can be imported
    else:
        allowed = ("tools",)
    assert {name for name in ours if not within(name, *allowed)} == set()
    if within(module, "tools"):
        assert not {
            name for name in names if within(name, "jax", "flax", "textual", "rich", "typer")
        }


WORKER = [path for path in MODULES if name_of(path).startswith("tools.worker.")]


@pytest.mark.parametrize("path", WORKER, ids=name_of)
def test_the_worker_needs_the_standard_library_and_pytest_only(path: Path) -> None:
    siblings = {other.stem for other in WORKER}
    tops = {name.split(".")[0] for name in imports_of(path)}
    known = set(sys.stdlib_module_names) | {"pytest", "_pytest", "pluggy"} | siblings
    assert tops - known == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_stays_readable(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_goes_through_a_shell(path: Path) -> None:
    calls = [
        node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)
    ]
    for call in calls:
        assert not any(keyword.arg == "shell" for keyword in call.keywords)
        assert ast.unparse(call.func) not in ("os.system", "os.popen", "subprocess.getoutput")


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert " 0 broken" in done.stdout


def loaded_by(*arguments: str) -> set[str]:
    """Top-level names of the modules that `trm-agent ARGUMENTS` imports, in a process of its own."""
    program = (
        "import json, sys\n"
        "from agent.cli import run\n"
        f"code = run({list(arguments)!r})\n"
        "print()\nprint(json.dumps([code, sorted({n.split('.')[0] for n in sys.modules})]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    code, names = json.loads(done.stdout.splitlines()[-1])
    assert code in (0, 2), done.stderr
    return set(names)


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("fix", "--help"), ("train", "--help"), ("show", "no such run"),
     ("fix", "/nowhere", "--apply", "--commit")],
    ids=" ".join,
)  # fmt: skip
def test_help_and_errors_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments) & set(HEAVY) == set()


def test_importing_a_package_does_nothing() -> None:
    program = "import agent, trm, tools, tools.source, agent.faces, agent.events, agent.errors, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & {*HEAVY, "rich", "typer"} == set()
    assert done.stderr == ""


def test_a_repair_begins_without_jax() -> None:
    """The model is loaded in a thread while the suite runs: the search must not import it before."""
    done = subprocess.run(
        [sys.executable, "-c", "import agent.loop, sys; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert {name.split(".")[0] for name in done.stdout.split()} & {"jax", "flax", "optax"} == set()


def test_the_check_itself_sees_a_heavy_import() -> None:
    """The proof that the tests above can fail: the same measurement finds JAX where it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", "import trm.layers, sys; print('jax' in sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "True"


def test_every_test_file_has_a_name_of_its_own() -> None:
    names = [
        path.name for path in (ROOT / "tests").rglob("test_*.py") if "fixtures" not in path.parts
    ]
    assert sorted(names) == sorted(set(names))
    for folder in ("agent", "trm", "tools"):
        assert not (ROOT / "tests" / folder / "__init__.py").exists()  # it would hide the package
