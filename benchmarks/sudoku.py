"""What the paper says of recursion and deep supervision, on Sudoku that a CPU can learn: a curve, and the ablations beside it.

    python benchmarks/sudoku.py --box 2 --seconds 240          # 4x4
    python benchmarks/sudoku.py --box 3 --seconds 1800         # 9x9, with few cells missing

Every puzzle has one solution. No solved grid of the test puzzles is among those of training; of the 288 4x4 grids a fifth is held
out. Each variant is trained for the same CPU time; the table is of held-out puzzles, answered by the averaged weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np

VARIANTS = {
    "TRM": {},
    "no deep supervision": {"steps": 1},
    "one recursion step": {"n": 1, "T": 1},
    "one pass": {"n": 1, "T": 1, "steps": 1},
}
TESTS = 400


def solved(box: int, rng: np.random.Generator) -> np.ndarray:
    """A random solved grid (side, side) of 1..side."""
    side = box * box
    while True:
        grid = np.zeros((side, side), int)
        if fill(grid, box, rng):
            return grid


def allowed(grid: np.ndarray, box: int, row: int, column: int) -> np.ndarray:
    """The symbols that row, column and box leave a cell."""
    top, left = row // box * box, column // box * box
    seen = np.concatenate(
        [grid[row], grid[:, column], grid[top : top + box, left : left + box].ravel()]
    )
    return np.setdiff1d(np.arange(1, box * box + 1), seen)


def tightest(grid: np.ndarray, box: int) -> tuple[int, int, np.ndarray] | None:
    """The empty cell with the fewest symbols left, and these; None where no cell is empty."""
    cells = np.argwhere(grid == 0)
    if not len(cells):
        return None
    options = [(row, column, allowed(grid, box, row, column)) for row, column in cells]
    return min(options, key=lambda option: len(option[2]))


def fill(grid: np.ndarray, box: int, rng: np.random.Generator) -> bool:
    """Complete the grid in place, at random; whether that can be done."""
    cell = tightest(grid, box)
    if cell is None:
        return True
    row, column, options = cell
    for symbol in rng.permutation(options):
        grid[row, column] = symbol
        if fill(grid, box, rng):
            return True
    grid[row, column] = 0
    return False


def solutions(grid: np.ndarray, box: int, most: int = 2) -> int:
    """How many solutions there are, counted up to `most`."""
    cell = tightest(grid, box)
    if cell is None:
        return 1
    row, column, options = cell
    found = 0
    for symbol in options:
        grid[row, column] = symbol
        found += solutions(grid, box, most - found)
        if found >= most:
            break
    grid[row, column] = 0
    return found


def puzzle(grid: np.ndarray, box: int, empty: int, rng: np.random.Generator) -> np.ndarray:
    """The grid without up to `empty` cells, such that it has one solution."""
    left = grid.copy()
    for cell in rng.permutation(grid.size):
        if (left == 0).sum() >= empty:
            break
        kept, left.flat[cell] = left.flat[cell], 0
        if solutions(left.copy(), box) > 1:
            left.flat[cell] = kept
    return left


def shuffled(
    given: np.ndarray, answer: np.ndarray, box: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A symmetry of Sudoku: symbols, rows and columns within bands, bands, transposition (the paper's augmentation)."""
    side = box * box
    names = np.concatenate([[0], 1 + rng.permutation(side)])

    def order() -> np.ndarray:
        return np.concatenate([band * box + rng.permutation(box) for band in rng.permutation(box)])

    rows, columns, turned = order(), order(), rng.random() < 0.5
    pair = [names[grid][rows][:, columns] for grid in (given, answer)]
    if turned:
        pair = [grid.T for grid in pair]
    return pair[0], pair[1]


def problems(box: int, number: int, empty: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Distinct solved grids, each with a puzzle."""
    rng, found = np.random.default_rng(seed), {}
    while len(found) < number:
        grid = solved(box, rng)
        found.setdefault(grid.tobytes(), (puzzle(grid, box, empty, rng), grid))
    return list(found.values())


def split(box: int, number: int, empty: int):
    """Training and test puzzles, of different solved grids; 4x4 many puzzles a grid, 9x9 one."""
    if box == 2:
        every = problems(box, 288, empty, 0)
        rng = np.random.default_rng(1)
        rng.shuffle(every)
        rest, kept = every[58:], every[:58]
        tests = [(puzzle(grid, box, empty, rng), grid) for _ in range(7) for _, grid in kept]
        train = [(puzzle(grid, box, empty, rng), grid) for _ in range(20) for _, grid in rest]
        return train, tests[:TESTS]
    every = problems(box, number + TESTS, empty, 0)
    return every[TESTS:], every[:TESTS]


def flat(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels (rows, cells)."""
    given, answers = zip(*pairs, strict=True)
    return tuple(np.stack(grids).reshape(len(grids), -1).astype(np.int32) for grids in (given, answers))  # type: ignore[return-value]  # fmt: skip


def run(name: str, changes: dict, args: argparse.Namespace, data, tests) -> tuple:
    """Train a variant; prints its curve and returns its row of the table."""
    import jax
    import jax.numpy as jnp

    from trm import act
    from trm.config import ModelConfig, TrainConfig
    from trm.model import count
    from trm.train import keep_memory

    keep_memory()
    side = args.box**2
    model = ModelConfig(
        vocab=side + 1, width=args.width, heads=args.width // 32, inner=2 * args.width, n=args.n, T=args.T,
        steps=args.supervision, qk_norm=False,
    )  # fmt: skip
    model = dataclasses.replace(model, **changes)
    train = TrainConfig(
        optimizer="atan2", learning_rate=args.rate, warmup=100, beta2=0.95, weight_decay=1.0, clip=0.0, ema=0.995,
    )  # fmt: skip
    learner = act.new_learner(model, train, args.rows, side * side)
    step = act.make_step(model, train)
    answer = jax.jit(lambda params, inputs: act.solve(params, model, inputs))
    inputs, labels = flat(tests)
    rng, key = np.random.default_rng(2), jax.random.key(2)
    used, number, spent, marks = [], 0, 0.0, 0
    exact = np.zeros(1)
    while spent < args.seconds:
        some = [shuffled(*data[i], args.box, rng) for i in rng.integers(0, len(data), args.rows)]
        if args.box == 2:  # a symmetry may lead into the grids of the tests
            some = [data[i] for i in rng.integers(0, len(data), args.rows)]
        given, right = flat(some)
        key, mine = jax.random.split(key)
        began = time.process_time()
        learner, metrics = step(learner, jnp.asarray(given), jnp.asarray(right), mine)
        jax.block_until_ready(learner)
        if number > 2:  # not the compilations
            spent += time.process_time() - began
        number += 1
        used.append(metrics)
        if spent >= marks * args.seconds / 8:
            marks += 1
            found = np.asarray(answer(learner.ema, jnp.asarray(inputs)))
            exact = (found == labels).all(-1).mean(-1)
            cells = (found[-1] == labels)[inputs == 0].mean()
            print(f"{name}: {spent:.0f} s, {number} steps, loss {float(metrics['symbols']):.3f}, held out exact by step "
                  f"{' '.join(f'{e:.3f}' for e in exact)}, cells {cells:.3f}", flush=True)  # fmt: skip
    return name, number, count(learner.params), exact


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--box", type=int, default=2, choices=(2, 3))
    parser.add_argument("--seconds", type=float, default=240.0, help="of CPU, training a variant")
    parser.add_argument("--empty", type=int, help="cells missing at most [10, or 30 of 81]")
    parser.add_argument("--grids", type=int, default=3000, help="9x9 grids of training")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--n", type=int, default=3)
    parser.add_argument("--T", type=int, default=2)
    parser.add_argument("--supervision", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--only", choices=list(VARIANTS), nargs="*")
    args = parser.parse_args()
    empty = args.empty or (10 if args.box == 2 else 30)
    data, tests = split(args.box, args.grids, empty)
    missing = np.mean([(given == 0).sum() for given, _ in tests])
    print(f"{len(data)} puzzles to learn from, {len(tests)} held out; {missing:.1f} cells missing")
    rows = [run(name, VARIANTS[name], args, data, tests) for name in args.only or VARIANTS]
    print("\n| variant | steps | held out exact, first to last answer |\n| --- | --- | --- |")
    for name, number, _, exact in rows:
        print(f"| {name} | {number} | {' '.join(f'{e:.3f}' for e in exact)} |")


if __name__ == "__main__":
    main()
