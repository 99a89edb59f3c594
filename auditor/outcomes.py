"""From the ledger to outcomes: one status for each sample, the worst over all attacks."""

from __future__ import annotations

import numpy as np

from auditor.certificates import Certified
from auditor.errors import SelfContradiction
from auditor.explore import Explored
from auditor.ledger import Ledger
from auditor.observe import Observation
from auditor.record import AttackRow, Outcome, Spent, Status
from auditor.samples import Samples
from auditor.threat import ThreatModel


def settle(
    samples: Samples,
    threat: ThreatModel,
    observation: Observation,
    ledger: Ledger,
    attacks: list[AttackRow],
    proved: Certified,
) -> list[Outcome]:
    """An outcome for each sample, in their order.

    Raises SelfContradiction where a sample is certified and broken, or has an example within its certified radius: then
    the tool is wrong, and no number is given.
    """
    both = np.flatnonzero((proved.certified & ledger.broken) | (ledger.nearest < proved.radii))
    if len(both):
        ids = ", ".join(str(int(i)) for i in samples.ids[both[:5]])
        raise SelfContradiction(
            f"{len(both)} samples (ids {ids}) were certified and broken at once; this is a bug in the certifier or "
            "the verifier, please report it with the record's journal."
        )
    return [
        _outcome(i, samples, threat, observation, ledger, attacks, bool(proved.certified[i]), float(proved.radii[i]))
        for i in range(len(samples))
    ]


def _outcome(
    i: int,
    samples: Samples,
    threat: ThreatModel,
    observation: Observation,
    ledger: Ledger,
    attacks: list[AttackRow],
    certified: bool,
    radius: float,
) -> Outcome:
    broken = bool(ledger.broken[i])
    if broken:
        status = Status.BROKEN
    elif not ledger.correct[i]:
        status = Status.MISCLASSIFIED
    elif certified:
        status = Status.CERTIFIED
    elif ledger.lost[i]:
        status = Status.ERROR
    elif ledger.full[i]:
        status = Status.WITHSTOOD
    else:
        status = Status.ERROR if ledger.met[i] else Status.UNATTACKED
    forwards, backwards, queries = (int(v) for v in ledger.spent[i])
    return Outcome(
        id=int(samples.ids[i]),
        label=int(samples.labels[i]),
        clean_label=int(observation.clean_labels[i]),
        status=status,
        attack=attacks[int(ledger.stage[i])].name if broken else None,
        distance=float(ledger.distance[i]) if broken and np.isfinite(ledger.distance[i]) else None,
        adversarial_label=int(ledger.label[i]) if broken else None,
        target=threat.goal.target,
        spent=Spent(forwards=forwards, backwards=backwards, queries=queries),
        nearest=float(ledger.nearest[i]) if np.isfinite(ledger.nearest[i]) else None,
        ranged=bool(ledger.ranged[i]),
        radius=radius if ledger.correct[i] else 0.0,
    )


def evidence(
    samples: Samples, threat: ThreatModel, ledger: Ledger, explored: Explored | None = None
) -> dict[str, np.ndarray]:
    """What anyone needs to replay the adversarial examples: `id, x, x_adv, label, adversarial_label`, one row each.

    With them goes what of the threat is an array: `lower, upper` of each example's box, or `weights` and `frozen`. What
    distance stages found is in the same columns behind `near_`, what runs towards a class found behind `pair_`.
    """
    index = np.flatnonzero(ledger.broken)
    shape = samples.inputs.shape[1:]
    adversarial = [ledger.adversarial[int(i)] for i in index]
    arrays = {
        "id": samples.ids[index],
        "x": samples.inputs[index],
        "x_adv": np.stack(adversarial) if adversarial else np.zeros((0, *shape), np.float32),
        "label": samples.labels[index],
        "adversarial_label": ledger.label[index],
    }
    if near := sorted(ledger.nearest_point):
        arrays |= {
            "near_id": samples.ids[near],
            "near_x": samples.inputs[near],
            "near_x_adv": np.stack([ledger.nearest_point[i] for i in near]),
            "near_label": samples.labels[near],
            "near_adversarial_label": ledger.nearest_label[near],
        }
    if explored is not None and (runs := sorted(explored.reached.points)):
        reached = explored.reached
        own = np.array([reached.index[run] for run in runs])
        arrays |= {
            "pair_id": samples.ids[own],
            "pair_x": samples.inputs[own],
            "pair_x_adv": np.stack([reached.points[run] for run in runs]),
            "pair_label": samples.labels[own],
            "pair_adversarial_label": np.array([reached.target[run] for run in runs], np.int64),
        }
    if threat.boxes and samples.lower is not None and samples.upper is not None:
        arrays |= {"lower": samples.lower[index], "upper": samples.upper[index]}
    if threat.weights is not None:
        arrays["weights"] = np.asarray(threat.weights, np.float64)
    if threat.frozen is not None:
        arrays["frozen"] = np.asarray(threat.frozen, bool)
    return arrays
