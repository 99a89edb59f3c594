import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from auditor.access import Access, OutputKind
from auditor.bench import LinearTarget
from auditor.distillation import Recipe, Teacher, augmented, distilled, reservoir
from auditor.errors import UsageError
from auditor.spread import spread
from auditor.substitute import Substitute, picture

FEATURES, CLASSES = 12, 4
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(CLASSES, FEATURES)).astype(np.float32)
BIAS = -WEIGHT.sum(axis=1) / 2
X = RNG.random((40, FEATURES)).astype(np.float32)
QUICK = Recipe(seeds=20, rounds=2, epochs=1)


def oracle(shape=None):
    return LinearTarget(WEIGHT, BIAS, shape)


def cosine(twin, target):
    """Mean cosine between the gradients of label less runner-up, of the substitute and of the oracle."""
    x = torch.from_numpy(X).clone().requires_grad_()
    best = torch.from_numpy(target.scores(X)).topk(2, dim=1).indices
    logits = twin.logits(x).gather(1, best)
    (slope,) = torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), x)
    weight = torch.from_numpy(WEIGHT)
    return float(cosine_similarity(slope, weight[best[:, 0]] - weight[best[:, 1]]).mean())


@pytest.mark.parametrize("access", [Access.SCORE, Access.DECISION])
def test_the_gradients_of_a_linear_oracle_are_found(access):
    made = distilled(oracle(), X, seed=0, access=access, recipe=Recipe(rounds=4))
    assert cosine(made.twin, oracle()) > 0.93
    assert made.agreement > 0.85


def test_more_questions_bring_it_nearer():
    few, many = (distilled(oracle(), X, seed=0, recipe=Recipe(seeds=50, rounds=rounds)) for rounds in (1, 5))
    assert cosine(few.twin, oracle()) < cosine(many.twin, oracle()) - 0.05


def test_points_double_every_round_and_each_is_asked_once():
    target = oracle()
    made = distilled(target, X, seed=0, recipe=Recipe(seeds=30, rounds=3, epochs=1))
    assert made.points == made.queries == target.queries == 30 * 2**3
    assert Recipe().queries == 150 * 2**5


def test_large_pictures_get_fewer_points():
    assert Recipe.affordable((28, 28)) == Recipe()
    assert Recipe.affordable((3, 224, 224)).queries == 150 * 2**2


def test_a_reservoir_caps_what_a_round_adds():
    target, recipe = oracle(), Recipe(seeds=30, rounds=4, reservoir=50, epochs=1)
    made = distilled(target, X, seed=0, recipe=recipe)
    assert made.queries == target.queries == recipe.queries == 30 + 30 + 50 + 50 + 50


def test_a_reservoir_is_a_uniform_draw_without_replacement():
    generator = torch.Generator().manual_seed(0)
    draws = [reservoir(10, 4, generator) for _ in range(2000)]
    assert all(len(set(draw.tolist())) == 4 for draw in draws)
    counts = torch.bincount(torch.cat(draws), minlength=10)
    assert (counts - 800).abs().max() < 4.5 * (2000 * 0.4 * 0.6) ** 0.5
    assert reservoir(3, 4, generator).tolist() == [0, 1, 2]


def test_the_row_is_that_of_the_label_and_the_bounds_hold():
    net = torch.nn.Linear(FEATURES, CLASSES, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        net.weight.copy_(torch.from_numpy(WEIGHT))
        net.bias.zero_()
    points, labels = torch.from_numpy(X), torch.arange(len(X)) % CLASSES
    expected = (points + 0.1 * torch.from_numpy(WEIGHT)[labels].sign()).clamp(0, 1)
    torch.testing.assert_close(augmented(net, points, labels, 0.1, 0, 1), expected)


def test_the_step_turns_round_after_some_rounds(monkeypatch):
    steps = []

    def spy(net, points, labels, step, low, high):
        steps.append(step)
        return augmented(net, points, labels, step, low, high)

    monkeypatch.setattr("auditor.distillation.augmented", spy)
    recipe = Recipe(seeds=4, rounds=5, flip=2, epochs=1, step=0.25)
    distilled(oracle(), X, seed=0, recipe=recipe, bounds=(-1.0, 1.0))
    assert steps == [0.5, 0.5, -0.5, -0.5, 0.5]


class Watched(LinearTarget):
    """Remembers what it was asked."""

    def __init__(self):
        super().__init__(WEIGHT, BIAS)
        self.asked = []

    def _run(self, x):
        self.asked.append(x.copy())
        return super()._run(x)


def test_no_sample_is_asked_about_and_points_keep_to_the_bounds():
    target = Watched()
    distilled(target, X, seed=0, recipe=QUICK, bounds=(0.2, 0.9))
    asked = np.concatenate(target.asked)
    assert np.abs(asked[:, None] - X[None]).max(axis=2).min() > 0
    assert asked.min() >= np.float32(0.2)
    assert asked.max() <= np.float32(0.9)
    assert asked.std() > 0.1


def test_a_seed_is_mostly_one_sample():
    target, corners = Watched(), np.eye(FEATURES, dtype=np.float32)
    distilled(target, corners, seed=0, recipe=Recipe(seeds=100, rounds=1, step=1e-6, epochs=1))
    largest = np.sort(target.asked[0], axis=1)
    assert (largest[:, -1] > 0.49).all()
    np.testing.assert_allclose(largest[:, -1] + largest[:, -2], 1, atol=1e-4)


def test_the_seed_decides_and_nothing_else():
    state = torch.random.get_rng_state()
    first, again, other = (distilled(oracle(), X, seed=seed, recipe=QUICK).twin for seed in (1, 1, 2))
    x = torch.from_numpy(X)
    assert torch.equal(first.logits(x), again.logits(x))
    assert not torch.equal(first.logits(x), other.logits(x))
    assert torch.equal(torch.random.get_rng_state(), state)


class Says(LinearTarget):
    """A linear model whose answers are something else than logits."""

    def __init__(self, output, factor=1.0):
        super().__init__(WEIGHT, BIAS)
        self.output, self.factor = output, factor
        self.access = Access.DECISION if output is OutputKind.LABELS else Access.SCORE

    def _run(self, x):
        z = torch.from_numpy(self.factor * super()._run(x))
        if self.output is OutputKind.PROBABILITIES:
            z = z.softmax(1)
        elif self.output is OutputKind.LOG_PROBABILITIES:
            z = z.log_softmax(1)
        elif self.output is OutputKind.LABELS:
            z = torch.nn.functional.one_hot(z.argmax(1), CLASSES).float()
        return z.numpy()


@pytest.mark.parametrize("output", list(OutputKind))
def test_what_is_learnt_of_answers_of_each_kind(output):
    target, x = Says(output), torch.from_numpy(X)
    z = torch.from_numpy(X @ WEIGHT.T + BIAS)
    labels, answers = Teacher(target, scores=True).ask(x)
    assert torch.equal(labels, z.argmax(dim=1))
    if output is OutputKind.LOGITS:
        assert float(answers.square().mean()) == pytest.approx(1, rel=1e-5)
        correlation = torch.corrcoef(torch.stack([answers.flatten(), (z - z.mean(1, keepdim=True)).flatten()]))
        assert float(correlation[0, 1]) == pytest.approx(1, abs=1e-5)
    elif output is OutputKind.LABELS:
        assert torch.equal(answers.argmax(dim=1), labels)
        assert answers.sum() == len(X)
    else:
        torch.testing.assert_close(answers, z.softmax(dim=1), rtol=1e-4, atol=1e-5)


def test_labels_alone_are_learnt_where_the_audit_grants_no_more():
    seen = Teacher(Says(OutputKind.LOGITS), scores=False).ask(torch.from_numpy(X))[1]
    assert torch.equal(seen.unique(), torch.tensor([0.0, 1.0]))


def test_loud_logits_teach_the_same(tmp_path):
    quiet, loud = (distilled(Says(OutputKind.LOGITS, factor), X, seed=0, recipe=QUICK).twin for factor in (1, 1000))
    x = torch.from_numpy(X)
    torch.testing.assert_close(quiet.logits(x), loud.logits(x), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((12,), None),
        ((28, 28), (1, 28, 28)),
        ((3, 32, 30), (3, 32, 30)),
        ((32, 30, 3), (3, 32, 30)),
        ((1, 224, 224), (1, 224, 224)),
        ((5, 5, 5), None),
        ((2, 6), None),
    ],
)
def test_pictures_are_convolved_whatever_their_axes(shape, seen):
    generator = torch.Generator().manual_seed(0)
    seeds = torch.rand((6, *shape), generator=generator)
    net = Substitute(shape, 7, seeds, generator)
    assert picture(shape) == seen
    assert any(isinstance(layer, torch.nn.Conv2d) for layer in net.layers) == (seen is not None)
    assert net(seeds).shape == (6, 7)
    assert net.double()(seeds.double()).dtype is torch.float64
    assert float(net(seeds.double()).detach().std()) < 3


def test_a_picture_s_distillate_takes_samples_as_they_are():
    rng = np.random.default_rng(1)
    target = LinearTarget(rng.normal(size=(3, 64)).astype(np.float32), np.zeros(3, np.float32), (8, 8, 1))
    pictures = rng.random((10, 8, 8, 1)).astype(np.float32)
    made = distilled(target, pictures, seed=0, recipe=QUICK)
    assert made.twin.logits(torch.from_numpy(pictures)).shape == (10, 3)
    assert "substitute" in made.twin.surrogates[0]
    assert "none of them is a sample" in made.seeds


def test_scores_learnt_of_logits_have_the_usual_spread():
    made = distilled(oracle(), X, seed=0, recipe=Recipe(rounds=3))
    assert 3 < spread(made.twin, torch.from_numpy(X)) < 7


@pytest.mark.parametrize(
    "options", [{"seeds": 1}, {"rounds": 0}, {"flip": 0}, {"epochs": 0}, {"reservoir": 0}, {"step": 0.0}, {"rate": 1.0}]
)
def test_a_recipe_that_cannot_be_meant_is_refused(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        Recipe(**options)


def test_no_samples_are_refused():
    with pytest.raises(UsageError, match="starts from samples"):
        distilled(oracle(), X[:0], seed=0)
