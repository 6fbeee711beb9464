"""Make ``airflow_automl/contract/service_model.json`` from the installed botocore's SageMaker model.

Keeps the AutoML operations and the shapes they reach, without documentation. Run it after an upgrade of botocore:

    python tools/service_model.py            # write the file
    python tools/service_model.py --check    # only check that it is current
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OPERATIONS = (
    "CreateAutoMLJob",
    "CreateAutoMLJobV2",
    "DescribeAutoMLJob",
    "DescribeAutoMLJobV2",
    "ListAutoMLJobs",
    "ListCandidatesForAutoMLJob",
    "StopAutoMLJob",
)
TARGET = Path(__file__).parent.parent / "airflow_automl" / "contract" / "service_model.json"


def subset(model: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a service model to the AutoML operations."""
    operations = {name: _without_documentation(model["operations"][name]) for name in OPERATIONS}
    pending = [
        reference["shape"]
        for operation in operations.values()
        for reference in (operation.get("input"), operation.get("output"), *operation.get("errors", []))
        if reference
    ]
    shapes: dict[str, Any] = {}
    while pending:
        name = pending.pop()
        if name in shapes:
            continue
        shape = shapes[name] = _without_documentation(model["shapes"][name])
        references = [shape.get("member"), shape.get("key"), shape.get("value"), *shape.get("members", {}).values()]
        pending += [reference["shape"] for reference in references if reference]
    return {
        "version": model.get("version", "2.0"),
        "metadata": _without_documentation(model["metadata"]),
        "operations": operations,
        "shapes": dict(sorted(shapes.items())),
    }


def installed() -> dict[str, Any]:
    """Reduce the model of the installed botocore."""
    from botocore.loaders import Loader

    return subset(Loader().load_service_model("sagemaker", "service-2"))


def render(model: Mapping[str, Any]) -> str:
    """Write one shape a line, so that a change of the API is a readable diff."""
    parts = []
    for key, value in model.items():
        if key in ("operations", "shapes"):
            lines = ",\n".join(f"{json.dumps(name)}:{_dump(entry)}" for name, entry in value.items())
            parts.append(f"{json.dumps(key)}:{{\n{lines}\n}}")
        else:
            parts.append(f"{json.dumps(key)}:{_dump(value)}")
    return "{" + ",\n".join(parts) + "}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _without_documentation(value: Any) -> Any:
    if isinstance(value, Mapping):
        # A structure may well have a member of that name: only the text of a documentation is dropped.
        return {
            key: _without_documentation(item)
            for key, item in value.items()
            if not (key == "documentation" and isinstance(item, str))
        }
    if isinstance(value, list):
        return [_without_documentation(item) for item in value]
    return value


def main() -> int:
    """Write or compare the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is not current")
    args = parser.parse_args()
    text = render(installed())
    if args.check:
        current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
        print(f"{TARGET.name} is {'current' if current else 'not what the installed botocore says'}")
        return 0 if current else 1
    TARGET.write_text(text, encoding="utf-8")
    print(f"wrote {TARGET} ({len(text)} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
