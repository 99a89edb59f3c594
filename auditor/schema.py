"""The record's form as JSON Schema 2020-12, for those who read `audit.json` in another language.

`python -m auditor.schema > docs/record.schema.json` writes what is published. It is made from the structs themselves,
so it can't say anything else than what advaudit writes. Members may be added under one number of the schema, and a
reader has to let them pass.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from auditor.record import SCHEMA, Record

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema of `audit.json`, each struct with its docstring. Takes milliseconds."""
    made = msgspec.json.schema(Record)
    made["$defs"]["Record"]["properties"]["schema"] = {"const": SCHEMA}
    for definition in made["$defs"].values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return {
        "$schema": DIALECT,
        "$id": f"urn:advaudit:record:{SCHEMA}",
        "title": "The record of an advaudit scan",
        "description": "audit.json: everything that a scan found. Rates are fractions, null is what was not computed.",
        **made,
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1, ensure_ascii=False))
