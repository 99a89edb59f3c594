"""Evaluators and attacks of other libraries, each as a function from inputs and labels to candidates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers import Net
from benchmarks.shared import Case

Attack = Callable[[Tensor, Tensor], Tensor]


def torchattacks_autoattack(net: Net, case: Case, seed: int) -> Attack:
    """AutoAttack-standard of torchattacks, linf."""
    import torchattacks

    attack = torchattacks.AutoAttack(
        net, norm="Linf", eps=case.threat.epsilon, version="standard", n_classes=case.target.classes, seed=seed
    )
    return lambda x, y: attack(x, y)


def art_autoattack(net: Net, case: Case, seed: int) -> Attack:
    """AutoAttack of the Adversarial Robustness Toolbox, linf, as it comes."""
    from art.attacks.evasion import AutoAttack

    attack = AutoAttack(_classifier(net, case), norm=np.inf, eps=case.threat.epsilon, eps_step=case.threat.epsilon / 4)
    return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def foolbox_pgd(net: Net, case: Case, seed: int) -> Attack:
    """Foolbox's linf PGD, 40 steps."""
    import foolbox

    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=40, rel_stepsize=0.1)
    return lambda x, y: attack(model, x, y, epsilons=case.threat.epsilon)[1]


def foolbox_fmn(net: Net, case: Case, seed: int) -> Attack:
    """Foolbox's linf FMN, 100 steps; what lies beyond epsilon is no break."""
    import foolbox

    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LInfFMNAttack(steps=100)
    return lambda x, y: attack(model, x, y, epsilons=case.threat.epsilon)[1]


def torchattacks_fab(net: Net, case: Case, seed: int) -> Attack:
    """FAB of torchattacks (Foolbox has none), linf, 100 steps."""
    import torchattacks

    attack = torchattacks.FAB(
        net, norm="Linf", eps=case.threat.epsilon, steps=100, n_classes=case.target.classes, seed=seed
    )
    return lambda x, y: attack(x, y)


def _classifier(net: Net, case: Case) -> object:
    from art.estimators.classification import PyTorchClassifier

    shape = case.samples.shape
    return PyTorchClassifier(
        net,
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, *shape) if len(shape) == 2 else shape,
        nb_classes=case.target.classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


LIBRARIES: dict[str, Callable[[Net, Case, int], Attack]] = {
    "torchattacks-autoattack": torchattacks_autoattack,
    "art-autoattack": art_autoattack,
    "foolbox-pgd": foolbox_pgd,
    "foolbox-fmn": foolbox_fmn,
    "torchattacks-fab": torchattacks_fab,
}


def _foolbox(name: str, **options: float) -> Callable[[Net, Case, int], Attack]:
    """A minimum-norm attack of Foolbox with so many steps."""

    def build(net: Net, case: Case, steps: int) -> Attack:
        import foolbox

        model = foolbox.PyTorchModel(net.eval(), bounds=(0, 1), device="cpu")
        attack = getattr(foolbox.attacks, name)(steps=steps, **options)
        return lambda x, y: attack(model, x, y, epsilons=None)[1]

    return build


def _foolbox_search(name: str, searches: int, **options: float) -> Callable[[Net, Case, int], Attack]:
    """One that searches for its constant: its steps are shared out among the searches."""

    def build(net: Net, case: Case, steps: int) -> Attack:
        import foolbox

        model = foolbox.PyTorchModel(net.eval(), bounds=(0, 1), device="cpu")
        attack = getattr(foolbox.attacks, name)(binary_search_steps=searches, steps=steps // searches, **options)
        return lambda x, y: attack(model, x, y, epsilons=None)[1]

    return build


def _art(name: str, **options: object) -> Callable[[Net, Case, int], Attack]:
    """A minimum-norm attack of ART; `steps` names the option that holds its iterations, `searches` divides them."""

    def build(net: Net, case: Case, steps: int) -> Attack:
        from art.attacks import evasion

        own = dict(options)
        count, searches = str(own.pop("steps", "max_iter")), int(str(own.pop("searches", 1)))
        labelled = bool(own.pop("labelled", True))
        attack = getattr(evasion, name)(_classifier(net.eval(), case), **{count: steps // searches}, **own)
        return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), *([y.numpy()] if labelled else [])))

    return build


MINIMUM_NORM: dict[str, dict[str, Callable[[Net, Case, int], Attack]]] = {
    "l2": {
        "foolbox ddn": _foolbox("DDNAttack"),
        "foolbox fmn": _foolbox("L2FMNAttack"),
        "foolbox cw": _foolbox_search("L2CarliniWagnerAttack", 5),
        "art deepfool": _art("DeepFool", verbose=False, batch_size=64),
        "art cw": _art("CarliniL2Method", searches=5, binary_search_steps=5, batch_size=64, verbose=False),
    },
    "l1": {
        "foolbox fmn": _foolbox("L1FMNAttack"),
        "foolbox ead": _foolbox_search("EADAttack", 5),
        "art ead": _art("ElasticNet", searches=5, binary_search_steps=5, batch_size=64, verbose=False),
    },
    "l0": {
        "foolbox fmn": _foolbox("L0FMNAttack"),
        "art jsma": _art("SaliencyMapMethod", steps="batch_size", labelled=False, theta=1.0, gamma=1.0, verbose=False),
    },
    "linf": {"foolbox fmn": _foolbox("LInfFMNAttack")},
}
"""Other libraries' minimum-norm attacks by norm, each with the same number of steps."""
