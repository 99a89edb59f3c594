"""The record: written and read back unchanged, refused in one sentence where it is torn or foreign."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from records import outcomes, record

from auditor.entry import Entry, digest_outcomes, read_evidence, read_record
from auditor.errors import RecordError
from auditor.folder import write_arrays, write_record
from auditor.record import AUDIT, EVIDENCE, SCHEMA, Status

PROMISED = {
    "": "schema complete plan plan_digest execution environment tool model fidelity threat samples metrics by_class "
    "outcomes attacks findings masking trust gate verdict curve",
    "tool": "version plugins",
    "model": "path sha256",
    "threat": "name norm epsilon bounds boxes goal access",
    "samples": "n digest labels skipped",
    "metrics": "clean_accuracy robust_accuracy robust_accuracy_interval certified_accuracy attack_success_rate",
    "by_class": "label name n clean_accuracy robust_accuracy interval",
    "outcomes": "id label clean_label status attack distance adversarial_label target spent",
    "attacks": "name status reason broken forwards backwards seconds rejected",
    "gate": "rules",
}
"""What scripts may rely on, from the first release on."""
EVIDENCE_OF_ONE = {
    "id": np.array([3]),
    "x": np.zeros((1, 4), np.float32),
    "x_adv": np.ones((1, 4), np.float32),
    "label": np.array([0]),
    "adversarial_label": np.array([1]),
}


def test_round_trip(tmp_path: Path) -> None:
    found = record(outcomes("mbwcue", turned=2), certified=True, names=["a", "b", "c"])
    write_record(tmp_path, found)
    assert read_record(tmp_path) == found
    assert read_record(tmp_path / AUDIT) == found


def test_what_scripts_rely_on(tmp_path: Path) -> None:
    write_record(tmp_path, record(outcomes("bw")))
    tree = json.loads((tmp_path / AUDIT).read_text(encoding="utf-8"), parse_constant=pytest.fail)
    for name, keys in PROMISED.items():
        table = tree[name] if name else tree
        table = table[0] if isinstance(table, list) else table
        assert set(keys.split()) <= set(table), name
    assert tree["schema"] == SCHEMA == 1
    assert tree["outcomes"][0]["status"] == "broken"
    assert tree["metrics"]["certified_accuracy"] is None


def test_the_words_for_a_status() -> None:
    assert [str(status) for status in Status] == [
        "misclassified",
        "broken",
        "withstood",
        "certified",
        "unattacked",
        "error",
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b'{"schema": 1}', b"{}"])
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / AUDIT).write_bytes(content)
    with pytest.raises(RecordError, match="scan again"):
        read_record(tmp_path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / AUDIT).write_text('{"schema": 99}')
    with pytest.raises(RecordError, match="has schema 99, this advaudit reads 1"):
        read_record(tmp_path)


def test_no_record_at_all(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"a directory with audit\.json"):
        read_record(tmp_path)


def test_evidence_round_trip(tmp_path: Path) -> None:
    write_arrays(tmp_path / EVIDENCE, EVIDENCE_OF_ONE)
    found = Entry(record(outcomes("b")), tmp_path).evidence()
    assert set(found) == set(EVIDENCE_OF_ONE)
    for name, array in found.items():
        np.testing.assert_array_equal(array, EVIDENCE_OF_ONE[name])
        assert array.dtype == EVIDENCE_OF_ONE[name].dtype


@pytest.mark.parametrize("kept", [0, 10, 200, -30])
def test_torn_evidence_is_refused(tmp_path: Path, kept: int) -> None:
    write_arrays(tmp_path / EVIDENCE, EVIDENCE_OF_ONE)
    whole = (tmp_path / EVIDENCE).read_bytes()
    (tmp_path / EVIDENCE).write_bytes(whole[:kept])
    with pytest.raises(RecordError, match="can't be read"):
        read_evidence(tmp_path)


def test_evidence_that_carries_code_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / EVIDENCE, x=np.array([print], dtype=object))
    with pytest.raises(RecordError, match="can't be read"):
        read_evidence(tmp_path)


def test_the_digest_covers_every_outcome_and_every_byte() -> None:
    first = digest_outcomes(outcomes("bw"), EVIDENCE_OF_ONE)
    assert first == digest_outcomes(outcomes("bw"), dict(reversed(EVIDENCE_OF_ONE.items())))
    assert first != digest_outcomes(outcomes("wb"), EVIDENCE_OF_ONE)
    for name, array in EVIDENCE_OF_ONE.items():
        changed = array.copy()
        changed.flat[-1] += 1
        assert first != digest_outcomes(outcomes("bw"), EVIDENCE_OF_ONE | {name: changed})
