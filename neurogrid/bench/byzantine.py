"""Rules against attacks on handwritten digits, whose labels are dealt to agents by a Dirichlet distribution.

The data set is scikit-learn's, the model a small MLP; rounds are those of any run, on the inline backend.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product, repeat
from statistics import fmean

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from neurogrid.backends.inline import InlineBackend
from neurogrid.bench.table import Cell, ResultTable
from neurogrid.fl import local
from neurogrid.fl.attack import ATTACKS, Attacked, Attackers, AttackSettings
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.collusion import COLLUSIONS
from neurogrid.fl.pipeline import AggregationSettings
from neurogrid.fl.record import Round
from neurogrid.fl.registry import STAGES
from neurogrid.fl.rounds import Federation, RoundSettings, federate
from neurogrid.fl.state import State
from neurogrid.fl.update import AgentId, Update, Vector
from neurogrid.fl.weights import FlatModel, flatten, spec_of
from neurogrid.randomness import generator

COLUMNS = ("alpha", "rule", "attack", "seed", "accuracy_pct", "worst", "precision", "recall", "honest_lost_pct")
AGENTS, MALICIOUS_SHARE, TESTED = tuple(f"A{i:02}" for i in range(15)), 0.2, 497
LEAST_IMAGES = 5
KINDS = ("none", *ATTACKS, *COLLUSIONS)
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "mean": ("mean", tuple(stage for stage in STAGES if stage not in ("clip", "arc"))),
    "trimmed_mean": ("trimmed_mean", tuple(stage for stage in STAGES if stage != "arc")),
    "caf": ("caf", STAGES),
}
"""By the names of --rules: the rule, and the stages around it. Only the mean is without a clip of each tensor."""
LOCAL = local.LocalSettings(
    optimiser="sgd",
    steps=5,
    batch_size=32,
    learning_rate=0.1,
    final_learning_rate_share=0.1,
    gradient_clip_norm=0.0,
    proximal_mu=0.0,
)
Shards = dict[AgentId, tuple[Tensor, Tensor]]


def bench_byzantine(
    rules: Sequence[str], attacks: Sequence[str], alphas: Sequence[float], seeds: Sequence[int], rounds: int
) -> ResultTable:
    """Trains once for each combination: 15 agents, 3 of them malicious, the same ones throughout.

    Args:
        rules: of CASES.
        attacks: kinds of `AttackSettings`, or `none`.
        alphas: of the Dirichlet distribution; the smaller, the more agents differ.
        seeds: each is of the shards, the model, the batches and who attacks.
        rounds: of each training.
    """
    found = {case: _trained(*case, rounds) for case in product(alphas, rules, attacks, seeds)}
    rows: list[tuple[Cell, ...]] = []
    for alpha, rule in product(alphas, rules):
        means = {attack: fmean(found[alpha, rule, attack, seed][0] for seed in seeds) for attack in attacks}
        worst = min(means, key=lambda attack: means[attack])
        for attack, seed in product(attacks, seeds):
            accuracy, *others = found[alpha, rule, attack, seed]
            rows.append((alpha, rule, attack, seed, accuracy, "worst" if attack == worst else "", *others))
    notes = (
        f"{len(AGENTS)} agents, 3 of them malicious, {rounds} rounds; accuracy on {TESTED} images nobody trains on",
        "worst: the attack with the lowest accuracy, averaged over seeds, for the rule and alpha",
        "precision and recall of rejections, of all rounds together; honest_lost_pct: share of honest updates that "
        "were rejected",
    )
    return ResultTable("Rules against attacks", COLUMNS, tuple(rows), notes)


def _trained(
    alpha: float, rule: str, attack: str, seed: int, rounds: int
) -> tuple[float, float | None, float | None, float]:
    """Accuracy in per cent, precision, recall, and honest updates lost in per cent."""
    shards, images, labels = _dealt(alpha, seed)
    model = _model(seed)
    federation = Federation(AGENTS, dict.fromkeys(AGENTS, 0), spec_of(model), flatten(model), seed)
    name, stages = CASES[rule]
    clip = ClipSettings("median", "tensor", 1.0)
    aggregation = AggregationSettings(name, MALICIOUS_SHARE, 2.0, 5, clip, 0.9, 0.5, stages=stages)
    settings = RoundSettings(rounds, len(AGENTS), 60.0, 1, 0, 0.0, 0.0, aggregation)
    attackers = Attackers(AGENTS, seed, AttackSettings(attack, MALICIOUS_SHARE, "fixed", 10.0, 1.0))
    watch = _Watch([])
    inline = InlineBackend(lambda: _Trainer(shards, seed, rounds))
    with inline if attack == "none" else Attacked(inline, attackers) as backend:
        finish = federate(State.start(federation.start), federation, settings, backend, [watch], attackers)
    FlatModel(model).load(finish.state.weights)
    with torch.inference_mode():
        accuracy = float((model.eval()(images).argmax(dim=1) == labels).float().mean())
    return 100 * accuracy, *_rejected(watch.records, attacked=attack != "none")


def _rejected(records: Sequence[Round], *, attacked: bool) -> tuple[float | None, float | None, float]:
    agents = [agent for record in records for agent in record.agents]
    who_attacks = [agent.malicious is True and attacked for agent in agents]
    lost = [not a.accepted for a, malicious in zip(agents, who_attacks, strict=True) if not malicious]
    caught = sum(not a.accepted for a, malicious in zip(agents, who_attacks, strict=True) if malicious)
    rejected = caught + sum(lost)
    precision = caught / rejected if attacked and rejected else None
    return precision, caught / sum(who_attacks) if attacked else None, 100 * sum(lost) / len(lost)


@dataclass(frozen=True)
class _Watch:
    records: list[Round]

    def after_round(self, record: Round, state: State) -> None:
        self.records.append(record)


def _model(seed: int) -> nn.Module:
    rng, model = (
        generator(seed, "bench byzantine", "model"),
        nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    )
    with torch.no_grad():
        for weights in model.parameters():
            widest = weights.shape[-1] ** -0.5 if weights.ndim > 1 else 0.0
            weights.copy_(torch.from_numpy(rng.uniform(-widest, widest, tuple(weights.shape))))
    return model


def _dealt(alpha: float, seed: int) -> tuple[Shards, Tensor, Tensor]:
    """Each agent's images and labels, and those that are tested on."""
    pixels, digits = load_digits(return_X_y=True)
    order = generator(seed, "bench byzantine", "iid").permutation(len(digits))
    images = torch.from_numpy((pixels[order] / 16).astype(np.float32))
    labels = torch.from_numpy(digits[order].astype(np.int64))
    rng, trained = generator(seed, "bench byzantine", "dirichlet"), labels[TESTED:].numpy()
    owner = np.zeros(len(trained), np.int64)
    while np.bincount(owner, minlength=len(AGENTS)).min() < LEAST_IMAGES:
        for digit in range(10):
            of = np.flatnonzero(trained == digit)
            owner[of] = rng.choice(len(AGENTS), len(of), p=rng.dirichlet([alpha] * len(AGENTS)))
    rows = {name: torch.from_numpy(np.flatnonzero(owner == i) + TESTED) for i, name in enumerate(AGENTS)}
    return {name: (images[own], labels[own]) for name, own in rows.items()}, images[:TESTED], labels[:TESTED]


class _Trainer:
    def __init__(self, shards: Shards, seed: int, rounds: int) -> None:
        torch.set_num_threads(1)
        self._shards, self._seed, self._rounds = shards, seed, rounds
        self._flat = FlatModel(_model(seed))

    def train(self, agent: AgentId, round_number: int, weights: Vector) -> Update:
        result = local.train(
            self._flat,
            weights,
            self._batches(agent, round_number),
            self._loss,
            settings=LOCAL,
            rates=repeat(local.learning_rate(LOCAL, round_number, self._rounds)),
            random=generator(self._seed, "bench byzantine", "dropout", round_number, agent),
        )
        windows = len(self._shards[agent][1])
        return Update(agent, result.delta, windows, {"loss": result.loss, "train_s": result.seconds})

    def evaluate(self, agent: AgentId, weights: Vector) -> dict[str, float]:
        self._flat.load(weights)
        with torch.inference_mode():
            loss = self._loss(self._shards[agent])
        return {"loss": float(loss), "windows": len(self._shards[agent][1])}

    def holds(self, agent: AgentId) -> bool:
        return agent in self._shards

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self._flat.model(batch[0]), batch[1])

    def _batches(self, agent: AgentId, round_number: int) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self._shards[agent]
        rng = generator(self._seed, "bench byzantine", "batches", round_number, agent)
        for rows in rng.integers(0, len(labels), (LOCAL.steps, LOCAL.batch_size)):
            yield images[rows], labels[rows]
