"""Write docs/events.schema.json, the JSON Schema of one line of `--json`, from agent/events.py.

python docs/make_schema.py            write it
python docs/make_schema.py --check    exit 1 if it is not what would be written
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import sys
import typing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agent.events import SCHEMA, Event, event_types  # noqa: E402

PAGE = ROOT / "docs" / "events.schema.json"
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


def schema() -> dict[str, Any]:
    """The whole schema."""
    names = event_types()
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"An event of trm-agent, schema {SCHEMA}",
        "description": "A line of `trm-agent fix --json`, `bisect --json` and `show --json`. The last line, and no other, is "
        "Finished; the first is Started, unless nothing could be begun. Let pass fields that you do not know: within a schema "
        "they may be added.",
        "oneOf": [{"$ref": f"#/definitions/{name}"} for name in names],
        "definitions": {name: definition(cls) for name, cls in names.items()},
    }  # fmt: skip


def definition(cls: type[Event]) -> dict[str, Any]:
    """One event. Every field is always written."""
    hints = typing.get_type_hints(cls)
    properties = {f.name: of_type(hints[f.name]) for f in dataclasses.fields(cls)}
    if "schema" in properties:
        properties["schema"] = {"const": SCHEMA}
    return {
        "description": " ".join(inspect.cleandoc(cls.__doc__ or "").split()),
        "type": "object",
        "properties": {"event": {"const": cls.__name__}, **properties},
        "required": ["event", *properties],
    }


def of_type(hint: Any) -> dict[str, Any]:
    """The schema of a field's type. Raises TypeError for one that the events do not use yet."""
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    inside = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return {"enum": list(inside)}
    if typing.get_origin(hint) is tuple and inside[-1] is Ellipsis:
        return {"type": "array", "items": of_type(inside[0])}
    if typing.get_origin(hint) is tuple:
        size = len(inside)
        return {"type": "array", "items": [of_type(i) for i in inside], "minItems": size, "maxItems": size}  # fmt: skip
    raise TypeError(f"no schema for {hint}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/events.schema.json.")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = json.dumps(schema(), indent=2) + "\n"
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if not PAGE.exists() or PAGE.read_text("utf-8") != text:
        print(f"{PAGE} is stale: python docs/make_schema.py writes it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
