import numpy as np
import pytest

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

WORDS = np.array(["Monday", "tuesday", "MONDAY", "friday"], dtype=object)


def built(operators, op_type, outputs=1, **attributes):
    node = Node(
        op_type=op_type,
        domain="",
        opset=20,
        name="n",
        inputs=("a", "b"),
        outputs=tuple("yz"[:outputs]),
        attributes=attributes,
    )
    return operators.find(node).build(node)


def test_texts_are_joined_one_by_one(operators):
    joined = built(operators, "StringConcat")(np.array(["a", "b"], dtype=object), np.array(["c"], dtype=object))
    assert joined.tolist() == ["ac", "bc"]


def test_texts_are_split_and_filled_up(operators):
    parts, counts = built(operators, "StringSplit", 2, delimiter=".")(np.array(["a.b.c", "d"], dtype=object))
    assert parts.tolist() == [["a", "b", "c"], ["d", "", ""]]
    assert counts.tolist() == [3, 1]
    parts, _ = built(operators, "StringSplit", 2, delimiter=".", maxsplit=1)(np.array(["a.b.c"], dtype=object))
    assert parts.tolist() == [["a", "b.c"]]


def test_stop_words_go_and_case_changes(operators):
    plain = built(operators, "StringNormalizer", stopwords=("monday",))
    assert plain(WORDS).tolist() == ["tuesday", "friday"]
    strict = built(
        operators, "StringNormalizer", stopwords=("Monday",), is_case_sensitive=1, case_change_action="UPPER"
    )
    assert strict(WORDS).tolist() == ["TUESDAY", "MONDAY", "FRIDAY"]
    assert plain(WORDS[:1]).tolist() == [""]


def test_regular_expressions_of_a_file_are_not_run(operators):
    with pytest.raises(UnsupportedOperator, match="regular expressions"):
        built(operators, "RegexFullMatch", pattern="(a+)+b")
