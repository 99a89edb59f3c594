from pathlib import Path

import numpy as np
import pytest
from auditor.plugins.samples.npz import read_npz
from auditor.plugins.targets.onnx_ import OnnxTarget

from auditor.access import OutputKind
from auditor.conventions import candidates, find_conventions, permutation, suggest, suggest_permutation
from auditor.preprocess import Preprocess, Shape
from auditor.samples import Samples, SamplesOptions
from auditor.target import Target, TargetOptions

DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.random((300, 4, 4, 3), np.float32)


class Picky(Target):
    """A linear model of ten classes for `[3, 4, 4]`, trained, as it were, under one convention."""

    def __init__(self, shape: Shape = (3, 4, 4)) -> None:
        self.name, self.classes, self.shape = "picky", 10, shape
        self.preprocess, self.output = Preprocess(), OutputKind.LOGITS
        self.weight = np.random.default_rng(1).normal(size=(48, 10)).astype(np.float32)
        self.weight -= self.weight.mean(axis=0)

    def _run(self, x: np.ndarray) -> np.ndarray:
        # quadratic, so that a wrong scale or shift is no mere change of temperature
        return np.asarray((np.sin(x.reshape(len(x), -1)) @ self.weight) * 4)

    def labelled(self, preprocess: Preprocess) -> Samples:
        """Samples that it classifies correctly under this convention."""
        self.preprocess = preprocess
        self.fit((4, 4, 3))
        labels = self.labels(IMAGES)
        self.preprocess = Preprocess()
        return Samples(inputs=IMAGES, labels=labels, ids=np.arange(len(IMAGES)))


@pytest.mark.parametrize("name", ["none", "imagenet", "imagenet-caffe", "centred", "0-255"])
def test_the_convention_that_a_model_was_made_with_comes_first(name: str) -> None:
    target = Picky()
    samples = target.labelled(Preprocess.preset(name))
    found = find_conventions(target, samples)
    assert found[0].option == name
    assert found[0].accuracy == 1.0
    assert found[0].n == 200
    assert target.preprocess == Preprocess()


def test_the_order_of_channels_is_found() -> None:
    target = Picky()
    samples = target.labelled(Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), channels="bgr"))
    best = find_conventions(target, samples)[0]
    assert (best.name, best.option) == ("imagenet, bgr", None)
    assert 'channels = "bgr"' in suggest(target, samples, 0.1)


def test_the_order_of_axes_is_found_for_flat_models() -> None:
    target = Picky(shape=(48,))
    best = find_conventions(target, target.labelled(Preprocess(layout="nchw")))[0]
    assert best.name == "none, layout nchw"


def test_pixels_up_to_255_are_scaled() -> None:
    target = Picky()
    samples = target.labelled(Preprocess.preset("imagenet"))
    loud = Samples(inputs=samples.inputs * 255, labels=samples.labels, ids=samples.ids)
    best = find_conventions(target, loud)[0]
    assert best.name == "imagenet, / 255"
    assert best.preprocess.scale == pytest.approx(1 / 255)


def test_the_plain_convention_wins_where_nothing_tells() -> None:
    class Constant(Picky):
        def _run(self, x: np.ndarray) -> np.ndarray:
            return np.tile(np.eye(10, dtype=np.float32)[3], (len(x), 1))

    samples = Samples(inputs=IMAGES, labels=np.full(300, 3), ids=np.arange(300))
    assert find_conventions(Constant(), samples)[0].name == "none"


def test_only_what_makes_sense_is_tried() -> None:
    grey = candidates((28, 28), (1, 28, 28), 0, 1)
    assert {"none", "mnist", "centred", "symmetric", "0-255"} == set(grey)
    assert set(candidates((4,), (4,), -1, 1)) == {"none"}
    assert set(candidates((4,), (4,), 0, 7.9)) == {"none"}
    colour = candidates((4, 4, 3), (3, 4, 4), 0, 1)
    assert "mnist" not in colour
    assert "imagenet, bgr" in colour
    assert sum(p.channels == "bgr" and p.scale == 255 and bool(p.mean) for p in colour.values()) == 1


def test_a_permutation_of_labels_is_suggested_and_not_applied() -> None:
    order = np.array([3, 0, 1, 2, 4, 5, 6, 9, 8, 7])
    target = Picky()
    samples = target.labelled(Preprocess())
    renumbered = Samples(inputs=samples.inputs, labels=order[samples.labels], ids=samples.ids)
    target.fit((4, 4, 3))
    assert suggest_permutation(target, samples) is None
    assert suggest_permutation(target, renumbered) == (1, 2, 3, 0, 4, 5, 6, 9, 8, 7)
    sentence = suggest(target, renumbered, 0.1)  # `none` would reach the 40 % whose number is right
    assert "numbered otherwise" in sentence
    assert "0 is 1" in sentence


def test_no_permutation_from_noise() -> None:
    draws = np.random.default_rng(5)
    for classes, n in ((10, 200), (2, 200), (1000, 200), (100, 500)):
        for _ in range(10):
            labels, predicted = draws.integers(0, classes, n), draws.integers(0, classes, n)
            assert permutation(labels, predicted, classes) is None
    assert permutation(np.array([0, 1, 0, 1]), np.array([1, 0, 1, 0]), 2) is None  # too few
    assert permutation(np.arange(20) % 2, 1 - np.arange(20) % 2, 2) == (1, 0)


def test_nothing_helps_where_nothing_fits() -> None:
    target = Picky()
    samples = Samples(inputs=IMAGES, labels=DRAWS.integers(0, 10, 300), ids=np.arange(300))
    assert suggest(target, samples, 0.1).startswith("No usual")


def test_labels_beyond_the_classes_leave_nothing_to_suggest() -> None:
    samples = Samples(inputs=IMAGES, labels=np.full(300, 12), ids=np.arange(300))
    assert find_conventions(Picky(), samples) == []


@pytest.mark.shared
@pytest.mark.parametrize(
    ("model", "data", "names", "accuracy"),
    [
        ("mnist_undefended_logits", "mnist_test", {"centred"}, 0.98),
        ("mnist_undefended_softmax", "mnist_test", {"centred"}, 0.98),
        ("mnist_kw_certified_eps0.1", "mnist_test", {"none"}, 0.96),
        ("mnist_rsl18a_sdp_eps0.1", "mnist_test", {"none"}, 0.93),
        ("vnncomp_mnist_fc_256x2", "mnist_test", {"none"}, 0.95),
        ("vnncomp_sri_resnet_a", "cifar10_jpeg_4000", {"cifar10-resnet", "cifar10", "imagenet"}, 0.74),
        ("vnncomp_cifar_resnet_2b", "cifar10_jpeg_4000", {"cifar10-resnet", "cifar10", "imagenet"}, 0.6),
        ("cifar_cnn_a_adv", "cifar10_jpeg_4000", {"none"}, 0.6),
        ("vnncomp_cifar_marabou_small_nhwc", "cifar10_jpeg_4000", {"none"}, 0.52),
    ],
)
def test_real_files(shared: Path, model: str, data: str, names: set[str], accuracy: float) -> None:
    target = OnnxTarget(shared / "models" / f"{model}.onnx", TargetOptions(trust=True, threads=1))
    best = find_conventions(target, read_npz(shared / "data" / f"{data}.npz", SamplesOptions()))[0]
    assert best.name in names
    assert best.accuracy > accuracy
