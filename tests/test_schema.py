"""docs/record.schema.json is the record's form: current, a JSON Schema, and neither too wide nor too narrow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from models import labelled, linear_model
from records import attack_row, finding, outcomes, record

from auditor.cli import main
from auditor.hardness import ClassHardness, CurvePoint, Hardness, Pair, Protected, Risk, Runs
from auditor.protocols import TransferCounts
from auditor.record import SCHEMA, Chapter, FindingStatus, Record, Step
from auditor.schema import schema

PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "record.schema.json"
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def published() -> Draft202012Validator:
    """What a reader elsewhere has: the file alone."""
    return Draft202012Validator(json.loads(PUBLISHED.read_text(encoding="utf-8")))


def full() -> Record:
    """A record that has something in every member."""
    pair = Pair(
        source=0, target=1, n=4, broken=1, interval=(0.05, 0.7), reached=2, distance=None, mean_distance=0.3,
        hardness=0.2, adversarial_distance=0.4,
    )  # fmt: skip
    hardness = Hardness(
        pairs=[pair],
        classes=[ClassHardness(label=0, n=2, distance=0.1, curve=[CurvePoint(epsilon=0.1, robust_accuracy=0.5)])],
        protected=[Protected(label=0, into=None, cost=9, n=3, clean=0, broken=1, tried=2, got_there=1, precision=None)],
        risk=Risk(clean=0.1, found=0.5, costliest=None, n=3),
        runs=Runs(ids=[0], targets=[1], distances=[None], saliency=[0.5]),
    )
    transfer = TransferCounts(n=3, both_right=2, fooled_source=1, fooled_both=1, fooled_target=1, errors=0)
    return record(
        outcomes("wbmcue"),
        names=["cat", "dog"],
        attacks=[attack_row(rejected={"off the grid": 2}, transfer=transfer, because=["gradients"])],
        findings=[finding("gradients", FindingStatus.RAISED)],
        story=[Chapter(kind="claimed", text="So it began.", robust_accuracy=None)],
        curve=[CurvePoint(epsilon=0.1, robust_accuracy=0.5, certified=0.25)],
        hardness=hardness,
        next_steps=[Step(what="Train it", why="It fell", command="advaudit scan m.onnx")],
    )


def plain(found: Record) -> dict[str, Any]:
    """The record as `audit.json` has it."""
    read: dict[str, Any] = json.loads(msgspec.json.encode(found))
    return read


def test_the_published_schema_is_current() -> None:
    made = subprocess.run([sys.executable, "-m", "auditor.schema"], capture_output=True, check=True, encoding="utf-8")
    assert PUBLISHED.read_text(encoding="utf-8") == made.stdout, (
        "python -m auditor.schema > docs/record.schema.json brings it up to date"
    )


def test_it_is_a_json_schema_that_says_what_it_is(published: Draft202012Validator) -> None:
    Draft202012Validator.check_schema(published.schema)
    assert published.schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert published.schema["$id"] == f"urn:advaudit:record:{SCHEMA}"
    assert published.schema["title"]
    assert published.schema["description"]


def test_every_docstring_is_its_description() -> None:
    made = schema()["$defs"]
    for kind in (Record, Pair, Hardness, Runs, TransferCounts, Step):
        assert made[kind.__name__]["description"].split() == (kind.__doc__ or "").split()
        assert "\n " not in made[kind.__name__]["description"]


def test_a_record_of_every_member_validates(published: Draft202012Validator) -> None:
    published.validate(plain(full()))


def test_a_record_that_a_scan_wrote_validates(published: Draft202012Validator, tmp_path: Path) -> None:
    labelled(tmp_path / "samples.npz", *linear_model(tmp_path / "model.onnx"), n=12)
    command = ["scan", str(tmp_path / "model.onnx"), "--data", str(tmp_path / "samples.npz"), "--epsilon", "0.1"]
    command += ["--bounds", "0", "1", "--attack", "pgd:steps=3", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert len(found["outcomes"]) == 12
    assert (tmp_path / "out" / "report.html").is_file()
    assert len((tmp_path / "out" / "tables" / "samples.csv").read_text(encoding="utf-8").splitlines()) == 13
    published.validate(found)


def test_members_may_be_added(published: Draft202012Validator) -> None:
    read = plain(full()) | {"of_a_later_version": 1}
    read["outcomes"][0]["more"] = None
    published.validate(read)


@pytest.mark.parametrize(
    "change",
    [
        lambda read: read.update(schema=SCHEMA + 1),
        lambda read: read.pop("outcomes"),
        lambda read: read["metrics"].pop("robust_accuracy"),
        lambda read: read["outcomes"][0].pop("status"),
        lambda read: read["outcomes"][0].update(status="unbroken"),
        lambda read: read["outcomes"][0].update(id="0"),
        lambda read: read["metrics"].update(robust_accuracy="0.5"),
        lambda read: read["metrics"].update(robust_accuracy_interval=[0.1]),
        lambda read: read["hardness"]["pairs"][0].pop("reached"),
        lambda read: read["hardness"]["runs"].update(distances=["far"]),
        lambda read: read["curve"][0].update(epsilon=None),
        lambda read: read.update(verdict="maybe"),
        lambda read: read["gate"].update(rules={}),
    ],
)
def test_what_is_no_record_does_not_validate(change: Change, published: Draft202012Validator) -> None:
    read = plain(full())
    change(read)
    assert not published.is_valid(read)
