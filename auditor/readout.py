"""How a file's answer becomes a score for each class: which output to read, and what its numbers are.

Exporters end a classifier in many ways: logits, probabilities, their logarithms, one number for two classes, a label
beside a list of maps (scikit-learn), a label alone. Which one it is, is decided by what comes out on probes; what the
graph ends in decides only where numbers can't.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from auditor.access import OutputKind
from auditor.errors import ModelError
from auditor.heads import flat_columns, two_columns

if TYPE_CHECKING:
    import onnx

SUM = 1e-3
"""How far probabilities may be from adding up to 1."""
ROUNDING = 1e-6
"""How far below 0 a probability may come: a forest's share may add up to a little more than 1, its rest is negative."""
SOFTMAX_SUM = 0.05
"""The same behind a softmax, whose answer may have been rounded to 8 or 16 bits."""
PASSING = frozenset(
    {"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout", "QuantizeLinear", "DequantizeLinear"}
)
"""Operators that may stand behind the last one that matters."""
SQUASHING = frozenset({"Sigmoid", "HardSigmoid", "Softmax"})
LINEAR = frozenset({"Gemm", "MatMul", "Add", "Conv", "Sub"})
LABELS = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")


class Form(StrEnum):
    """In what form an output comes."""

    SCORES = "scores"
    MAPS = "maps"
    LABELS = "labels"


class Readout(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to read scores. Everything is settled, so that it can be stored and sent.

    output: its name. source: the value inside the graph that holds the scores: what ZipMap wraps, what ArgMax looks at,
    else the output itself. keys: what maps or labels call the classes, in the order of the scores; empty where they are
    their numbers. squeezed: the file drops its batch axis when it is 1.
    """

    output: str
    source: str
    form: Form
    kind: OutputKind
    classes: int
    keys: tuple[int | str, ...] = ()
    squeezed: bool = False

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes where the file gives them."""
        return tuple(map(str, self.keys)) if any(isinstance(key, str) for key in self.keys) else None

    def scores(self, raw: Any) -> np.ndarray:
        """Scores `[batch, classes]` from what a run returned for the output. Raises ModelError for another shape."""
        if self.form is Form.SCORES:
            return two_columns(raw[None] if self.squeezed else raw, self.kind)
        if self.form is Form.MAPS:
            try:
                return np.array([[answer[key] for key in self.keys] for answer in raw], np.float32)
            except KeyError as error:
                raise ModelError(f"The output {self.output!r} should score each class, it left out {error}.") from None
        return self._one_hot(np.asarray(raw).reshape(-1))

    def _one_hot(self, labels: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(labels), self.classes), np.float32)
        places = {key: place for place, key in enumerate(self.keys or range(self.classes))}
        for row, label in enumerate(labels.tolist()):
            if label not in places:
                raise ModelError(
                    f"The output {self.output!r} should be one of {self.classes} labels, it was {label!r}."
                )
            scores[row, places[label]] = 1
        return scores


@dataclass(frozen=True)
class Ending:
    """What an output ends in.

    op_type: the last operator that matters. source: the value that it takes. mapped: the value that a ZipMap behind it
    takes. keys: the labels that nodes name. transform: what a classifier of the ML domain does last.
    """

    op_type: str = ""
    source: str = ""
    mapped: str = ""
    keys: tuple[int | str, ...] = ()
    transform: str = ""

    @property
    def squashes(self) -> bool:
        return self.op_type in SQUASHING or self.transform in ("LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")


def ending(model: onnx.ModelProto, output: str) -> Ending:
    """What an output of the model ends in."""
    producers = {name: node for node in model.graph.node for name in node.output if name}
    keys: tuple[int | str, ...] = ()
    value, mapped = output, ""
    while (node := producers.get(value)) is not None:
        texts: dict[str, Any] = {attribute.name: attribute for attribute in node.attribute}
        named = next((texts[name] for name in LABELS if name in texts), None)
        if named is not None and not keys:
            keys = tuple(text.decode(errors="replace") for text in named.strings) or tuple(named.ints)
        value = node.input[0] if node.input else ""
        if node.op_type == "ZipMap":
            mapped = value
        elif node.op_type not in PASSING:
            transform = texts["post_transform"].s.decode(errors="replace") if "post_transform" in texts else ""
            return Ending(op_type=node.op_type, source=value, mapped=mapped, keys=keys, transform=transform)
    return Ending(mapped=mapped, keys=keys)


def probes(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Inputs of this shape, batch included, in the ranges that files expect: flat, pictures, noise, bytes."""
    draws = np.random.default_rng(0)
    yield draws.random(shape, np.float32)
    yield draws.standard_normal(shape, np.float32)
    yield np.zeros(shape, np.float32)
    yield np.ones(shape, np.float32)
    yield np.float32(255) * draws.random(shape, np.float32)
    yield np.float32(3) * draws.standard_normal(shape, np.float32)


def choose(
    answers: Sequence[dict[str, Any]],
    endings: dict[str, Ending],
    *,
    wanted: str | None = None,
    classes: int | None = None,
    width: Callable[[str], int | None] = lambda _: None,
) -> Readout:
    """The output to read, from what the file answered to probes.

    answers: for each probe, a batch of one sample (or of as many as the file insists on), name to value. wanted: the
    output to take, None for the best: a row of scores before maps, one number for two classes, and labels. classes:
    how many there are, asked only where labels come alone. width: length of the last axis of a value inside the graph.
    Raises ModelError where no output can be read, or several could that disagree.
    """
    if wanted is not None and wanted not in answers[0]:
        raise ModelError(f"The file has the outputs {', '.join(answers[0])}; there is none named {wanted!r}.")
    names = [wanted] if wanted is not None else list(answers[0])
    ranked = sorted((rank, place) for place, name in enumerate(names) if (rank := _rank(answers[0][name])) is not None)
    if not ranked:
        shapes = "; ".join(f"{name} is {_kind_of_value(answers[0][name])}" for name in names)
        raise ModelError(f"A classifier should return one score a class, or a label, for each sample; {shapes}.")
    best = [names[place] for rank, place in ranked if rank == ranked[0][0]]
    if ranked[0][0] == 0 and len(best) > 1:
        _agree(best, answers)
    return _read(best[0], answers, endings[best[0]], classes, width)


def _rank(raw: Any) -> int | None:
    """How good an output is for reading scores, 0 the best; None where it can't be read."""
    if isinstance(raw, list):
        return 1 if raw and isinstance(raw[0], dict) else None
    if not isinstance(raw, np.ndarray):
        return None
    columns = _columns(raw)
    if raw.dtype.kind == "f":
        return None if columns is None else 0 if columns > 1 else 3
    if columns != 1:
        return 2 if raw.dtype in (np.int8, np.uint8) and columns is not None else None
    return 4 if raw.dtype.kind in "iubOU" else None


def _columns(raw: np.ndarray) -> int | None:
    """Scores a sample that an answer holds; None where it is not one row a sample."""
    try:
        return int(flat_columns(raw[None] if _squeezed(raw) else raw).shape[1])
    except ModelError:
        return None


def _squeezed(raw: np.ndarray) -> bool:
    return raw.ndim == 1 and len(raw) > 1


def _agree(names: list[str], answers: Sequence[dict[str, Any]]) -> None:
    first, *others = [_all_rows(name, answers).argmax(1) for name in names]
    if any(not np.array_equal(first, other) for other in others):
        raise ModelError(
            f"The outputs {' and '.join(names)} could all be the scores, and they name different classes; "
            f"say which one to audit (`[model] output = {names[0]!r}`)."
        )


def _rows(raw: np.ndarray) -> np.ndarray:
    return flat_columns(raw[None] if _squeezed(raw) else raw)


def _all_rows(name: str, answers: Sequence[dict[str, Any]]) -> np.ndarray:
    """What an output gave for all probes. Raises ModelError where it scores now more classes, now fewer."""
    rows = [_rows(answer[name]) for answer in answers]
    if len(counts := sorted({part.shape[1] for part in rows})) > 1:
        raise ModelError(
            f"The output {name!r} should score the same classes for every sample; it gave {counts[0]} scores for one "
            f"and {counts[-1]} for another."
        )
    return np.concatenate(rows)


def _read(
    name: str,
    answers: Sequence[dict[str, Any]],
    end: Ending,
    classes: int | None,
    width: Callable[[str], int | None],
) -> Readout:
    first = answers[0][name]
    if isinstance(first, list):
        keys = end.keys if set(end.keys) == set(first[0]) else tuple(sorted(first[0]))
        maps = [answer for entry in answers for answer in entry[name]]
        if len(set(keys)) < len(keys):
            raise ModelError(f"The output {name!r} names a class twice, so its maps can't be read; export it again.")
        if any(set(answer) != set(keys) for answer in maps):
            raise ModelError(f"The output {name!r} should score the same classes for every sample; its maps differ.")
        rows = np.array([[answer[key] for key in keys] for answer in maps])
        kind = kind_of(rows, end)
        return Readout(output=name, source=end.mapped or name, form=Form.MAPS, kind=kind, classes=len(keys), keys=keys)
    if _rank(first) == 4:
        count = len(end.keys) or (width(end.source) if end.op_type == "ArgMax" else None) or classes
        if count is None:
            raise ModelError(
                f"The output {name!r} is a label, and the file does not say how many there are; "
                "give their names (`[samples] classes`)."
            )
        source = end.source if end.op_type == "ArgMax" else name
        return Readout(
            output=name, source=source, form=Form.LABELS, kind=OutputKind.LABELS, classes=count, keys=end.keys
        )
    rows = _all_rows(name, answers)
    return Readout(
        output=name,
        source=name,
        form=Form.SCORES,
        kind=OutputKind.LOGITS if first.dtype.kind != "f" else kind_of(rows, end),
        classes=max(2, rows.shape[1]),
        keys=end.keys if len(end.keys) == rows.shape[1] else (),
        squeezed=_squeezed(first),
    )


def kind_of(rows: np.ndarray, end: Ending) -> OutputKind:
    """What scores `[probes, columns]` are. Probabilities lie in [0, 1] and add up to 1, their logarithms likewise; one
    column alone can't add up, so there and where rounding spoils the sum the last operator is asked.
    """
    rows = rows.astype(np.float64)
    finite = rows[np.isfinite(rows).all(axis=1)]
    squashed = bool(len(finite)) and bool((finite >= -ROUNDING).all() and (finite <= 1 + SUM).all())
    if rows.shape[1] == 1:
        return OutputKind.PROBABILITIES if squashed and end.op_type not in LINEAR else OutputKind.LOGITS
    tolerance = SOFTMAX_SUM if end.squashes else SUM
    if squashed and (np.abs(finite.sum(axis=1) - 1) < tolerance).all():
        return OutputKind.PROBABILITIES
    if squashed and end.squashes and len(rows) > 1:
        return OutputKind.PROBABILITIES
    logarithms = rows[~np.isnan(rows).any(axis=1)]
    with np.errstate(over="ignore"):
        if len(logarithms) and (np.abs(np.exp(logarithms).sum(axis=1) - 1) < SUM).all() and (logarithms <= SUM).all():
            return OutputKind.LOG_PROBABILITIES
    return OutputKind.LOGITS


def _kind_of_value(raw: Any) -> str:
    if isinstance(raw, np.ndarray):
        return f"{raw.dtype} of shape {list(raw.shape)}"
    return f"a {type(raw).__name__}"
