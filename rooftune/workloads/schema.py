"""``python -m rooftune.workloads.schema`` writes the JSON Schema that editors check workload files with."""

from __future__ import annotations

import json
import sys

from rooftune.files import write_text
from rooftune.shipped import shipped
from rooftune.workloads.load import FOLDER
from rooftune.workloads.spec import Workload

FILE = "workload.schema.json"


def json_schema() -> str:
    """The JSON Schema of a workload file."""
    schema = Workload.model_json_schema()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "workload.schema.json", **schema}
    return json.dumps(schema, indent=2) + "\n"


def main() -> int:
    """Write ``workloads/workload.schema.json`` of this checkout."""
    path = shipped(FOLDER) / FILE
    write_text(path, json_schema())
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
