"""Make ``best_candidate.schema.json``, the JSON Schema of the XCom ``return_value``, from the service model.

Types are AWS's; nothing is required and unknown members are allowed, because real answers differ from the model. Run it
after ``tools/service_model.py``:

    python tools/document_schemas.py            # write the file
    python tools/document_schemas.py --check    # only check that it is current
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from airflow_automl.contract.model import shapes  # noqa: E402

TARGET = ROOT / "airflow_automl" / "contract" / "schemas" / "best_candidate.schema.json"


def schema_of(shape_name: str) -> dict[str, Any]:
    """Turn a shape into a JSON Schema that accepts whatever a service may answer for it."""
    shape = shapes()[shape_name]
    match shape["type"]:
        case "structure":
            members = {name: schema_of(reference["shape"]) for name, reference in shape["members"].items()}
            return {"type": "object", "properties": members, "additionalProperties": True}
        case "list":
            return {"type": "array", "items": schema_of(shape["member"]["shape"])}
        case "map":
            return {"type": "object", "additionalProperties": schema_of(shape["value"]["shape"])}
        case "timestamp":
            return {"type": "string", "format": "date-time"}
        case "float" | "double":
            # NaN and infinities, which JSON can't say, become null.
            return {"type": ["number", "null"]}
        case "integer" | "long":
            return {"type": "integer"}
        case "boolean":
            return {"type": "boolean"}
    known = f"known values: {', '.join(shape['enum'])}" if "enum" in shape else None
    return {"type": "string"} | ({"description": known} if known else {})


def render() -> str:
    """Return the file's text."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "BestCandidate",
        "description": (
            "The best candidate of an AutoML job in AWS's own keys (AutoMLCandidate), times as ISO-8601 strings; "
            "null where a job has none. The XCom return_value of the job operators and the sensor."
        ),
        **schema_of("AutoMLCandidate"),
        "type": ["object", "null"],
    }
    return json.dumps(schema, indent=2) + "\n"


def main() -> int:
    """Write or compare the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is not current")
    args = parser.parse_args()
    text = render()
    if args.check:
        current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
        print(f"{TARGET.name} is {'current' if current else 'not what the service model says'}")
        return 0 if current else 1
    TARGET.write_text(text, encoding="utf-8")
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
