"""Who finds the fix sooner: the model, untrained weights, Ochiai order or chance, by the real `fix`.

    python benchmarks/candidates.py --out DIR [--quixbugs COPY] [--humanevalfix humanevalpack.jsonl] [--packages problems.jsonl]
        [--ranks trm,untrained,ochiai,random] [--max-seconds 60] [--limit N] [--jobs N] [--checkpoint P]

Runs `trm-agent eval`'s own code: QuixBugs with half of the cases visible, HumanEvalFix with the full test and with the docstring
examples, problems of benchmarks/packages.py with the tests that they show. Results go to DIR/SET-VISIBLE.jsonl (packages.jsonl)
and are not run again; DIR/candidates.json has the figures; the tables go to stdout. The rows "tiers 2 and 3" are the figure
"median candidates to the fix where tiers 2 and 3 are needed".
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agent.errors import AgentError
from agent.evalreport import CONTROLS, compare, summarize, table
from agent.evaluate import EvalSettings, run_eval

RUNS = (
    ("quixbugs", "half"),
    ("humanevalfix", "full"),
    ("humanevalfix", "examples"),
    ("packages", ""),
)


def main() -> int:
    """Run what is asked for; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(description="Candidates to the fix, by who orders them.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quixbugs", type=Path)
    parser.add_argument("--humanevalfix", type=Path)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--ranks", default="trm,untrained,ochiai,random")
    parser.add_argument("--max-seconds", type=float, default=60.0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--checkpoint", default="")
    options = parser.parse_args()
    runs = [(name, visible) for name, visible in RUNS if getattr(options, name)]
    if not runs:
        parser.error("name a copy: --quixbugs, --humanevalfix or --packages")
    options.out.mkdir(parents=True, exist_ok=True)
    ranks = tuple(options.ranks.split(","))
    settings = EvalSettings(max_seconds=options.max_seconds, checkpoint=options.checkpoint)
    figures: dict[str, dict] = {}
    for name, visible in runs:
        title = f"{name}-{visible}".rstrip("-")
        lines = options.out / f"{title}.jsonl"
        data = getattr(options, name)
        results = run_eval(
            name, data, ranks, options.limit, visible or None, lines, options.jobs, settings
        )
        print(f"{title}\n\n{table(results)}\n", flush=True)
        controls = [control for control in CONTROLS if control in ranks and "trm" in ranks]
        figures[title] = {
            "settings": asdict(settings),
            "ranks": [asdict(summary) for summary in summarize(results)],
            "comparisons": [
                asdict(compare(results, "trm", control, tier))
                for control in controls
                for tier in (1, 2)
            ],
        }
    text = json.dumps(figures, indent=1)
    (options.out / "candidates.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AgentError as error:
        print(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
        sys.exit(2)
