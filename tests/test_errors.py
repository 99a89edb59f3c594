from __future__ import annotations

import pytest

from auditor import errors
from auditor.errors import AdvauditError


def family(kind: type[AdvauditError]) -> set[type[AdvauditError]]:
    return {kind}.union(*(family(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(family(AdvauditError), key=lambda kind: kind.__name__))
def test_exit_codes(kind: type[AdvauditError]) -> None:
    assert kind.exit_code == (130 if kind is errors.Interrupted else 2)
    assert kind.__name__ in str(errors.__doc__)
    assert kind.__doc__


def test_what_is_quoted_is_obeyed_by_nobody() -> None:
    assert str(errors.UsageError("names a class (a\n::error::x\x1b[2J ##[y]), got b")) == (
        "names a class (a\n: :error::x\N{REPLACEMENT CHARACTER}[2J ## [y]), got b"
    )


def test_a_target_that_is_lost_is_a_model_error() -> None:
    assert issubclass(errors.TargetUnavailable, errors.ModelError)
    assert issubclass(errors.UnsupportedOperator, errors.ModelError)
    assert not issubclass(errors.SelfContradiction, errors.ModelError)
