import numpy as np
import pytest
import torch

from auditor.errors import UnsupportedOperator
from auditor.operators import Node

POOL = {
    "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 2, 3],
    "ngram_counts": [0, 4],
    "ngram_indexes": [0, 1, 2, 6, 3, 4, 5, 7],
}
TEXT = np.array([[1, 1, 3, 3, 3, 7, 8, 6, 7], [5, 6, 2, 4, 3, 2, 3, 5, 6]], np.int64)


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("shortest", "longest", "gaps"), [(1, 1, 0), (1, 2, 0), (2, 2, 5), (1, 2, 3)])
@pytest.mark.parametrize("text", [TEXT, TEXT[0], TEXT.astype(np.int32)])
def test_numbers(check, mode, shortest, longest, gaps, text):
    lengths = {"min_gram_length": shortest, "max_gram_length": longest, "max_skip_count": gaps}
    weights = {"weights": [0.5, 2.0, 1.5, 1.0, 3.0, 0.25, 4.0, 1.25]}
    check("TfIdfVectorizer", text, mode=mode, opset=9, mapped=False, **lengths, **POOL)
    check("TfIdfVectorizer", text, mode=mode, opset=9, mapped=False, **lengths, **weights, **POOL)


def made(operators, **attributes):
    lengths = {"min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 0}
    pool = {"pool_strings": ("a", "b", "a", "b"), "ngram_counts": (0, 2), "ngram_indexes": (2, 0, 1)}
    names = {"inputs": ("x",), "outputs": ("y",)}
    node = Node(
        op_type="TfIdfVectorizer", domain="", opset=9, name="t", attributes={**lengths, **pool, **attributes}, **names
    )
    return operators.find(node).build(node)


def test_words(operators):
    texts = np.array([["a", "b", "a", "b"], ["b", "c", "c", "a"]], object)
    assert torch.equal(made(operators, mode="TF")(texts), torch.tensor([[2.0, 2.0, 2.0], [1.0, 0.0, 1.0]]))
    assert torch.equal(made(operators, mode="IDF")(texts), torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]]))


def test_unknown_modes_are_refused(operators):
    with pytest.raises(UnsupportedOperator, match="BM25"):
        made(operators, mode="BM25")
