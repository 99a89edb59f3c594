"""`advaudit verify` on what a distance stage left: every example is replayed, and what was edited is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from auditor.cli import main
from auditor.curve import curve, median_distance
from auditor.derived import derived
from auditor.entry import digest_outcomes, read_evidence, read_record
from auditor.errors import RecordError
from auditor.folder import write_arrays, write_record
from auditor.hardness import Hardness
from auditor.metrics import by_class, measure
from auditor.record import EVIDENCE, Outcome, Record, Status
from auditor.replay import replay

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "mnist"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan") / "out"
    arguments = ["scan", str(EXAMPLES / "natural.onnx"), "--data", str(EXAMPLES / "samples.npz"), "--epsilon", "0.05"]
    arguments += ["--config", str(EXAMPLES / "natural.toml"), "--limit", "12", "--out", str(folder)]
    result = CliRunner().invoke(main, [*arguments, "--attack", "fgsm", "--attack", "fmn:steps=40,distance=true"])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def copied(scanned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scanned, tmp_path / "copy"))


def rewrite(folder: Path, record: Record, evidence: dict[str, np.ndarray]) -> None:
    """Write both so that only their meaning, not their digest, can give them away."""
    digest = digest_outcomes(record.outcomes, evidence)
    write_record(folder, msgspec.structs.replace(record, outcomes_digest=digest))
    write_arrays(folder / EVIDENCE, evidence)


def test_the_record_has_distances_and_a_curve(scanned: Path) -> None:
    record, evidence = read_record(scanned), read_evidence(scanned)
    right = [outcome for outcome in record.outcomes if outcome.status != "misclassified"]
    assert all(outcome.nearest is not None for outcome in right)
    assert evidence["near_id"].tolist() == [outcome.id for outcome in right]
    assert record.metrics.median_distance is not None
    at = {point.epsilon: point.robust_accuracy for point in record.curve}
    assert at[0.05] == record.metrics.robust_accuracy
    assert at[0.0] == record.metrics.clean_accuracy
    within = [outcome for outcome in right if (outcome.nearest or 1) <= 0.05]
    assert all(outcome.status == "broken" for outcome in within)


def test_every_example_holds(scanned: Path) -> None:
    result = replay(scanned)
    assert result.whole
    assert result.near == result.near_held == len(read_evidence(scanned)["near_id"])
    assert f"{result.near} of {result.near} nearest ones hold" in result.text


def moved(record: Record, factor: float) -> Record:
    """The record with its first nearest distance multiplied, and what follows from it made to fit."""
    first = next(i for i, outcome in enumerate(record.outcomes) if outcome.nearest is not None)
    outcomes = list(record.outcomes)
    outcomes[first] = msgspec.structs.replace(outcomes[first], nearest=factor * (outcomes[first].nearest or 0))
    return refit(record, outcomes)


def refit(record: Record, outcomes: list[Outcome]) -> Record:
    """The record with other outcomes, and metrics and curve that fit them."""
    epsilon = record.threat.epsilon
    measured = measure(outcomes, certified=record.metrics.certified_accuracy is not None)
    metrics = msgspec.structs.replace(measured, median_distance=median_distance(outcomes, epsilon))
    return msgspec.structs.replace(
        record,
        outcomes=outcomes,
        metrics=metrics,
        curve=curve(outcomes, epsilon),
        by_class=by_class(outcomes, tuple(record.class_names) if record.class_names else None),
    )


def test_a_distance_that_is_not_the_examples_own_is_noticed(copied: Path) -> None:
    rewrite(copied, moved(read_record(copied), 1.001), read_evidence(copied))
    result = replay(copied)
    assert not result.whole
    assert result.failures == {"another distance than recorded": 1}


def test_metrics_and_curve_that_are_not_those_of_the_outcomes_are_noticed(copied: Path) -> None:
    record, evidence = read_record(copied), read_evidence(copied)
    better = msgspec.structs.replace(record.metrics, robust_accuracy=1.0)
    for edited in (
        msgspec.structs.replace(record, metrics=better),
        msgspec.structs.replace(record, curve=record.curve[:-1]),
    ):
        rewrite(copied, edited, evidence)
        with pytest.raises(RecordError, match="not those of its outcomes"):
            replay(copied)


def test_a_sample_that_withstood_has_no_example_within_epsilon(copied: Path) -> None:
    record, evidence = read_record(copied), read_evidence(copied)
    outcomes = [
        msgspec.structs.replace(o, status=Status.WITHSTOOD, attack=None, distance=None, adversarial_label=None)
        if o.status is Status.BROKEN
        else o
        for o in record.outcomes
    ]
    kept = {name: a if name.startswith("near_") else a[:0] for name, a in evidence.items()}
    rewrite(copied, refit(record, outcomes), kept)
    with pytest.raises(RecordError, match="withstood, with an example at"):
        replay(copied)


@pytest.mark.parametrize(
    "damage",
    [
        lambda e: e | {"near_x_adv": e["near_x_adv"][1:]},
        lambda e: e | {"near_label": e["near_label"].astype(float)},
        lambda e: {name: a for name, a in e.items() if name != "near_x"},
        lambda e: e | {"x": e["x"][:, :, 1:]},
    ],
)
def test_columns_that_do_not_fit_together_are_a_sentence(copied: Path, damage: Any) -> None:
    rewrite(copied, read_record(copied), damage(read_evidence(copied)))
    with pytest.raises(RecordError, match="evidence"):
        replay(copied)


def test_an_example_that_fools_nobody_is_noticed(copied: Path) -> None:
    record, evidence = read_record(copied), read_evidence(copied)
    evidence["near_x_adv"][0] = evidence["near_x"][0]
    evidence["near_x_adv"][0, ..., 0] += np.float32(1e-4)
    rewrite(copied, record, evidence)
    result = replay(copied)
    assert (result.near_held, result.held) == (result.near - 1, result.n)


def test_examples_that_are_missing_are_noticed(copied: Path) -> None:
    record, evidence = read_record(copied), read_evidence(copied)
    rewrite(copied, record, {name: a[1:] if name.startswith("near_") else a for name, a in evidence.items()})
    with pytest.raises(RecordError, match="nearest examples"):
        replay(copied)


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "out"
    arguments = ["scan", str(EXAMPLES / "natural.onnx"), "--data", str(EXAMPLES / "samples.npz"), "--epsilon", "0.05"]
    arguments += ["--config", str(EXAMPLES / "natural.toml"), "--limit", "8", "--out", str(folder), "--hardness"]
    result = CliRunner().invoke(main, [*arguments, "--attack", "fgsm"])
    assert result.exit_code == 0, result.output
    return folder


def test_runs_towards_a_class_are_replayed(paired: Path) -> None:
    record, result = read_record(paired), replay(paired)
    assert record.hardness is not None
    assert record.hardness.n > 0
    assert result.pairs == result.pairs_held == 9 * record.hardness.n
    assert f"{result.pairs} of {result.pairs} towards a class hold" in result.text


def reworked(folder: Path, **columns: Any) -> tuple[Record, Hardness]:
    """The record with other columns of runs."""
    record = read_record(folder)
    assert record.hardness is not None
    runs = msgspec.structs.replace(record.hardness.runs, **columns)
    hardness = derived(
        msgspec.structs.replace(record.hardness, runs=runs),
        record.outcomes,
        norm="linf",
        epsilon=record.threat.epsilon,
        features=784,
        confusions=[],
    )
    return msgspec.structs.replace(record, hardness=hardness), hardness


def test_a_run_that_is_not_as_far_as_it_says_is_noticed(paired: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(paired, tmp_path / "copy"))
    hardness = read_record(folder).hardness
    assert hardness is not None
    distances = [1.01 * (hardness.runs.distances[0] or 0), *hardness.runs.distances[1:]]
    write_record(folder, reworked(folder, distances=distances)[0])
    result = replay(folder)
    assert not result.whole
    assert result.failures == {"another distance than recorded": 1}


def test_pairs_that_are_not_those_of_their_runs_are_noticed(paired: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(paired, tmp_path / "copy"))
    record, hardness = reworked(folder)
    first = msgspec.structs.replace(hardness.pairs[0], broken=0 if hardness.pairs[0].broken else 1)
    hardness = msgspec.structs.replace(hardness, pairs=[first, *hardness.pairs[1:]])
    write_record(folder, msgspec.structs.replace(record, hardness=hardness))
    with pytest.raises(RecordError, match=r"`hardness\.pairs` is not what"):
        replay(folder)


def test_a_run_without_its_example_is_noticed(paired: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(paired, tmp_path / "copy"))
    evidence = read_evidence(folder)
    fewer = {name: array[1:] if name.startswith("pair_") else array for name, array in evidence.items()}
    rewrite(folder, read_record(folder), fewer)
    with pytest.raises(RecordError, match="towards a class and their evidence differ"):
        replay(folder)


FORGED: dict[str, Any] = {
    "correct": 3, "ranged": 1, "n": 1, "budgets": [0.0], "robustness": 1.0, "correlation": 0.9, "over": 9,
    "correlation_distance": 0.9, "easiest": [0], "hardest": [0], "pairs": [], "classes": [],
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_whatever_follows_from_outcomes_and_runs_is_held_against_them(name: str, paired: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(paired, tmp_path / "copy"))
    record = read_record(folder)
    hardness = msgspec.structs.replace(record.hardness, **{name: FORGED[name]})
    write_record(folder, msgspec.structs.replace(record, hardness=hardness))
    with pytest.raises(RecordError, match=f"`hardness.{name}` is not what"):
        replay(folder)


def test_classes_samples_and_threat_are_held_against_outcomes_and_plan(paired: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(paired, tmp_path / "copy"))
    record = read_record(folder)
    better = [msgspec.structs.replace(row, robust_accuracy=1.0) for row in record.by_class]
    for edited, words in (
        (msgspec.structs.replace(record, by_class=better), "classes are not those"),
        (msgspec.structs.replace(record, samples=msgspec.structs.replace(record.samples, n=999)), "classes are not"),
        (msgspec.structs.replace(record, threat=msgspec.structs.replace(record.threat, bounds=None)), "bounds"),
        (msgspec.structs.replace(record, threat=msgspec.structs.replace(record.threat, norm="l2")), "norm"),
    ):
        write_record(folder, edited)
        with pytest.raises(RecordError, match=words):
            replay(folder)


@pytest.mark.parametrize("change", [(10**6, 0), (None, -7), (None, 99)])
def test_runs_that_nobody_could_have_played_are_refused(
    change: tuple[int | None, int], paired: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(paired, tmp_path / "copy"))
    record = read_record(folder)
    assert record.hardness is not None
    runs = record.hardness.runs
    ids, targets = [*runs.ids, change[0] or runs.ids[0]], [*runs.targets, change[1]]
    more = msgspec.structs.replace(
        runs, ids=ids, targets=targets, distances=[*runs.distances, None], saliency=[*runs.saliency, None]
    )
    hardness = msgspec.structs.replace(record.hardness, runs=more)
    write_record(folder, msgspec.structs.replace(record, hardness=hardness))
    with pytest.raises(RecordError, match="can't have been played"):
        replay(folder)


def test_an_older_record_holds_without_what_it_could_not_know(paired: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(paired, tmp_path / "copy"))
    record, evidence = read_record(folder), read_evidence(folder)
    rows = [msgspec.structs.replace(row, misclassified=0, broken=0, certified=0) for row in record.by_class]
    older = msgspec.structs.replace(record, by_class=rows, hardness=None)
    rewrite(folder, older, {name: array for name, array in evidence.items() if not name.startswith("pair_")})
    assert replay(folder).whole
