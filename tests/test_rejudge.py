"""Records that are judged again, and scans that are judged against others: what is refused, and that all agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from auditor.cli import main
from auditor.entry import read_record
from auditor.folder import write_record
from auditor.judgement import Verdict
from auditor.record import EVIDENCE

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "mnist"
PLAN = """
[[threat]]
norm = "linf"
epsilon = 0.3
bounds = [0.0, 1.0]
[search]
escalate = false
certify = false
hardness = false
[[attack]]
name = "fgsm"
[run]
threads = 1
"""
ROBUST = '[[gate]]\nmetric = "robust_accuracy"\n'
Run = Callable[..., tuple[int, str]]


POLICY = f"""{ROBUST}at_least = 0.5
{ROBUST}at_least = 0.99
[[gate]]
metric = "clean_accuracy"
at_least = 0.8
over = "population"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the record `main` of 40 samples in it, judged by POLICY, and `far`, the same under another epsilon."""
    made = tmp_path_factory.mktemp("records")
    code, said = scan(made, "main", POLICY)
    assert code == 1, said
    record = read_record(made / "main")
    threat = msgspec.structs.replace(record.threat, name="linf 0.2", epsilon=0.2, epsilon_text="0.2")
    plan = record.plan | {"threat": record.plan["threat"] | {"epsilon": 0.2}}
    (made / "far").mkdir()
    write_record(made / "far", msgspec.structs.replace(record, threat=threat, plan=plan))
    (made / "far" / EVIDENCE).write_bytes((made / "main" / EVIDENCE).read_bytes())
    return made


def scan(folder: Path, name: str, gate: str, *more: str) -> tuple[int, str]:
    plan = folder / f"{name}.toml"
    plan.write_text(PLAN + gate)
    words = ["scan", str(EXAMPLE / "robust.onnx"), "--data", str(EXAMPLE / "samples.npz"), "--config", str(plan)]
    words += ["--out", str(folder / name), "--limit", "40", "--format", "text", "--progress", "none", *more]
    result = CliRunner().invoke(main, words)
    return result.exit_code, result.output


def gate(path: Path, policy: str, *more: str) -> tuple[int, str]:
    plan = path.parent / "policy.toml"
    plan.write_text(policy)
    result = CliRunner().invoke(main, ["gate", str(path), "--config", str(plan), *more])
    return result.exit_code, result.output


def test_a_scan_and_the_gate_agree(folder: Path) -> None:
    rows = read_record(folder / "main").gate.rules
    assert [row.status for row in rows] == [Verdict.INCONCLUSIVE, Verdict.FAILED, Verdict.PASSED]
    code, said = gate(folder / "main", POLICY)
    assert code == 1
    for row in rows:
        assert f"{row.status.upper():12} {row.rule}: {row.reason}" in said
    assert gate(folder / "main", "")[0] == 0
    assert "No rule was given, so there is no verdict." in gate(folder / "main", "")[1]


def test_a_scan_is_judged_against_a_baseline(folder: Path) -> None:
    against = '[[gate]]\nmetric = "clean_accuracy"\nbaseline = "main"\nmargin = 0.0\n'
    code, said = scan(folder, "again", against)
    assert code == 0, said
    record = read_record(folder / "again")
    (row,) = record.gate.rules
    assert (record.verdict, row.value, row.reason) == (Verdict.PASSED, 0.0, "+0.0000 on 40 pairs")


def test_a_baseline_is_not_the_record_itself(folder: Path) -> None:
    against = '[[gate]]\nmetric = "clean_accuracy"\nbaseline = "main"\n'
    code, said = gate(folder / "main", against)
    assert (code, "the very one that is judged" in said) == (2, True)
    before = (folder / "main" / "audit.json").read_bytes()
    code, said = scan(folder, "main", against, "--overwrite")
    assert (code, "the very one that is judged" in said) == (2, True)
    assert (folder / "main" / "audit.json").read_bytes() == before


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (f'{ROBUST}at_least = 0.5\nclasses = ["nope"]\n', "9), got 'nope'"),
        (f'{ROBUST}at_least = 0.5\nclasses = ["{"9" * 5000}"]\n', "names a class of the model"),
        (f'{ROBUST}at_least = 0.5\nthreat = "l2"\n', "got 'l2'"),
        (f'{ROBUST}baseline = "nowhere"\n', "nowhere has none that can be read"),
        (f'{ROBUST}baseline = "far"\n', "differ in epsilon"),
    ],
)
def test_a_policy_that_can_not_be_judged_stops_a_scan_before_it_attacks(folder: Path, policy: str, said: str) -> None:
    name = f"refused{abs(hash(policy))}"
    code, told = scan(folder, name, policy)
    assert (code, said in told) == (2, True), told
    assert not list((folder / name).glob("block*")), "something was attacked"


def test_a_finished_scan_that_is_judged_anew_says_so_in_its_record(folder: Path) -> None:
    code, said = scan(folder, "main", '[[gate]]\nmetric = "clean_accuracy"\nat_least = 0.5\n', "--resume")
    assert code == 0, said
    assert read_record(folder / "main").verdict is Verdict.PASSED
    assert scan(folder, "main", POLICY, "--resume")[0] == 1
    assert read_record(folder / "main").verdict is Verdict.FAILED


def test_coverage_of_a_scan_that_stopped_is_of_those_it_drew(folder: Path) -> None:
    policy = f'{ROBUST}at_least = 0.5\nbound = "drawn"\n[[gate]]\nmetric = "coverage"\nat_least = 0.9\n'
    scan(folder, "drawn", policy, "--sequential")
    record = read_record(folder / "drawn")
    assert record.drawn is not None
    assert record.drawn.settled is Verdict.PASSED
    assert len(record.drawn.ids) == 32
    assert [row.status for row in record.gate.rules if row.metric == "coverage"] == [Verdict.PASSED]


def test_what_was_changed_is_refused(folder: Path, tmp_path: Path) -> None:
    if not (folder / "drawn").exists():
        test_coverage_of_a_scan_that_stopped_is_of_those_it_drew(folder)
    record = read_record(folder / "drawn")
    evidence = (folder / "drawn" / EVIDENCE).read_bytes()
    policy = f'{ROBUST}at_least = 0.5\nbound = "drawn"\n'
    assert record.drawn is not None
    few = msgspec.structs.replace(record.drawn, ids=record.drawn.ids[1:])
    metrics = msgspec.structs.replace(record.metrics, robust_accuracy=1.0)
    outcomes = [msgspec.structs.replace(o, status="withstood") for o in record.outcomes]
    for name, change, there, said in (
        ("ids", {"drawn": few}, True, "metrics are not those|not drawn in the order"),
        ("metrics", {"metrics": metrics}, True, "metrics are not those"),
        ("outcomes", {"outcomes": outcomes}, True, "not those that were written"),
        ("bare", {}, False, "lacks its evidence.npz"),
    ):
        made = tmp_path / name
        made.mkdir()
        write_record(made, msgspec.structs.replace(record, **change))
        if there:
            (made / EVIDENCE).write_bytes(evidence)
        code, told = gate(made, policy)
        assert code == 2, f"{name}: {told}"
        assert any(one in told for one in said.split("|")), f"{name}: {told}"
    order = msgspec.structs.replace(record.drawn, ids=sorted(record.drawn.ids))
    made = tmp_path / "order"
    made.mkdir()
    write_record(made, msgspec.structs.replace(record, drawn=order))
    (made / EVIDENCE).write_bytes(evidence)
    assert "not drawn in the order of its seed" in gate(made, policy)[1]


def test_several_records_share_a_policy(folder: Path) -> None:
    plan = folder / "several.toml"
    plan.write_text(
        f'{ROBUST}at_least = 0.99\nthreat = "linf 0.3"\n[[gate]]\nmetric = "clean_accuracy"\nat_least = 0.5\n'
    )
    words = ["gate", str(folder / "main"), str(folder / "far"), "--config", str(plan)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert result.output.count("FAILED") == 1
    assert result.output.count("PASSED") == 2
