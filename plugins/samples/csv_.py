"""Samples from a table in a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from auditor.errors import SamplesError
from auditor.hookspecs import hookimpl
from auditor.samples import PREDICTED, Samples, SamplesOptions, as_inputs

LABELS = ("label", "y", "target")
"""Names of a column that holds the label, in any case; without one it is the last."""
DELIMITERS = ",;\t"


@hookimpl
def load_samples(ref: str, options: SamplesOptions) -> Samples | None:
    return read_csv(Path(ref), options) if ref.lower().endswith((".csv", ".tsv")) else None


def read_csv(path: Path, options: SamplesOptions) -> Samples:
    """The rows of a table with a header: numeric features in their own units, one column with the label.

    Columns are separated by comma, semicolon or tab. Labels that are whole numbers count as class numbers; others are
    names, numbered in sorted order or as `classes` says. Where labels are to be predicted, a column named as a label
    is left out and the last one is a feature. Raises SamplesError for a cell that is no number, naming line and column.
    """
    header, rows = _read(path)
    named = [place for place, name in enumerate(header) if name.lower() in LABELS]
    if len(named) > 1:
        raise SamplesError(f"{path} has {len(named)} columns named as a label; keep one of {', '.join(LABELS)}.")
    predicted = options.labels == "predicted"
    place = named[0] if named else (None if predicted else len(header) - 1)
    if len(header) < 2 and place is not None:
        raise SamplesError(f"{path} should have feature columns and a label, it has one column, {header[0]!r}.")
    features = [column for column in range(len(header)) if column != place]
    inputs = np.array([[_number(path, header, line, row, c) for c in features] for line, row in rows], np.float64)
    labels, names = np.full(len(rows), PREDICTED, np.int64), options.classes
    if place is not None and not predicted:
        labels, names = _labels(path, [row[place].strip() for _, row in rows], options)
    samples = Samples(
        inputs=as_inputs(str(path), inputs),
        labels=labels,
        ids=np.arange(len(rows)),
        class_names=names,
        labels_source=options.labels,
        source=str(path),
    )
    return samples if options.limit is None else samples.limit(options.limit, options.seed)


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the rows with the number of their line."""
    if not path.is_file():
        raise SamplesError(f"There is no file {path}; give the table that holds the samples.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(DELIMITERS, key=first.count), strict=True)
            table = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SamplesError(f"{path} can't be read as a CSV file: {error}; save it as UTF-8 text.") from error
    if not table:
        raise SamplesError(f"{path} is empty; it should have a header line and one line a sample.")
    (_, header), *rows = table
    header = [name.strip() for name in header]
    if all(_is_number(name) for name in header):
        raise SamplesError(f"{path} should begin with a line of column names, its first line holds numbers; add one.")
    for line, row in rows:
        if len(row) != len(header):
            raise SamplesError(
                f"{path}, line {line}: {len(header)} columns were expected, {len(row)} came; correct it."
            )
    return header, rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(path: Path, header: list[str], line: int, row: list[str], column: int) -> float:
    text = row[column].strip()
    if not _is_number(text):
        came = f"{text!r} came" if text else "nothing"
        raise SamplesError(
            f"{path}, line {line}, column {header[column]!r}: a number was expected, {came}; "
            "encode categories as numbers and fill gaps, as the model was trained."
        )
    return float(text)


def _labels(path: Path, texts: list[str], options: SamplesOptions) -> tuple[np.ndarray, tuple[str, ...] | None]:
    if "" in texts:
        raise SamplesError(f"{path} has rows without a label; label or remove them, or use --labels predicted.")
    classes = options.classes
    if classes is None or not set(texts) <= set(classes):
        numbers = [float(text) if _is_number(text) else None for text in texts]
        if all(number is not None and number.is_integer() for number in numbers):
            return np.array(numbers, np.float64).astype(np.int64), classes
    if classes is None:
        classes = tuple(sorted(set(texts)))
    unknown = sorted(set(texts) - set(classes))
    if unknown:
        raise SamplesError(
            f"{path} has the label {unknown[0]!r}, which is not among the {len(classes)} `classes`; name every label "
            "there, in the order of the model's."
        )
    return np.array([classes.index(text) for text in texts], np.int64), classes
