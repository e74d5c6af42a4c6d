"""A second workload, which shares nothing with meters: scikit-learn's digits, a small CNN with BatchNorm and dropout.

Agents' images are files in a folder, one an agent. Agents may name the digits each in their own way.
"""

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from pyspark import cloudpickle
from sklearn.datasets import load_digits
from torch import nn

from neurogrid.fl import local
from neurogrid.fl.update import Update
from neurogrid.fl.weights import FlatModel, load
from neurogrid.randomness import generator

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file

SEED, ROUNDS, TESTED = 3, 6, 297
AGENTS = tuple(f"A{i:02}" for i in range(12))
LOCAL = local.LocalSettings(
    optimiser="adam",
    steps=12,
    batch_size=32,
    learning_rate=0.01,
    final_learning_rate_share=0.3,
    gradient_clip_norm=0.0,
    proximal_mu=0.0,
)


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Dropout(0.25), nn.Linear(64, 10)),
        )

    def forward(self, images):
        return self.layers(images)


def new_model():
    torch.manual_seed(SEED)
    return Cnn()


def write(folder):
    """Deals the images out: a file an agent, and one that nobody trains on. A row is 64 pixels and a label."""
    images, labels = load_digits(return_X_y=True)
    rows = np.column_stack([images, labels]).astype(np.float32)[generator(SEED, "iid").permutation(len(labels))]
    for name, part in zip(AGENTS, np.array_split(rows[TESTED:], len(AGENTS)), strict=True):
        np.save(folder / f"{name}.npy", part)
    np.save(folder / "tested.npy", rows[:TESTED])


OWN_NAMES = ("layers.10",)
"""The last layer, which may be private."""


def own_names(folder):
    """The same images, but each agent calls the digits by other numbers: no layer that all share can tell them."""
    for shift, name in enumerate(AGENTS):
        rows = np.load(folder / f"{name}.npy")
        rows[:, 64] = (rows[:, 64] + shift) % 10
        np.save(folder / f"{name}.npy", rows)


def opened(folder, name):
    """Pixels from 0 to 16, as they are: what BatchNorm's statistics begin with is far off."""
    rows = np.load(folder / f"{name}.npy")
    return torch.from_numpy(rows[:, :64].reshape(-1, 1, 8, 8)), torch.from_numpy(rows[:, 64].astype(np.int64))


def accuracy(weights, folder):
    model = new_model()
    load(model, weights)
    images, labels = opened(folder, "tested")
    with torch.inference_mode():
        return float((model.eval()(images).argmax(dim=1) == labels).float().mean())


@dataclass(frozen=True)
class Digits:
    """Makes a trainer. Where a file `killed` is named, the first process that has trained in round 2 is killed."""

    folder: Path
    killed: Path | None = None
    private: tuple[str, ...] = ()

    def __call__(self):
        torch.set_num_threads(1)
        return DigitsTrainer(self)


class DigitsTrainer:
    def __init__(self, own):
        self.own, self.flat, self.shards = own, FlatModel(new_model(), own.private), {}

    def train(self, agent, round_number, weights):
        result = local.train(
            self.flat,
            weights,
            self.batches(agent, "batches", round_number),
            self.loss,
            settings=LOCAL,
            rates=repeat(local.learning_rate(LOCAL, round_number, ROUNDS)),
            random=generator(SEED, "dropout", round_number, agent),
            private=self.batches(agent, "private", 0),
        )
        labels = self.shard(agent)[1]
        if self.own.killed is not None and round_number == 2:
            with contextlib.suppress(FileExistsError):
                self.own.killed.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return Update(agent, result.delta, len(labels), {"loss": result.loss, "train_s": result.seconds})

    def evaluate(self, agent, weights):
        images, labels = self.shard(agent)
        self.flat.load(weights)
        local.fit_private(self.flat, self.batches(agent, "private", 0), self.loss, settings=LOCAL)
        with torch.inference_mode():
            loss = nn.functional.cross_entropy(self.flat.model.eval()(images), labels)
        return {"loss": float(loss), "windows": len(labels)}

    def loss(self, batch):
        return nn.functional.cross_entropy(self.flat.model(batch[0]), batch[1])

    def batches(self, agent, purpose, round_number):
        images, labels = self.shard(agent)
        random = generator(SEED, purpose, round_number, agent)
        for rows in random.integers(0, len(labels), (LOCAL.steps, LOCAL.batch_size)):
            yield images[rows], labels[rows]

    def holds(self, agent):
        return agent in self.shards

    def shard(self, agent):
        if agent not in self.shards:
            self.shards[agent] = opened(self.own.folder, agent)
        return self.shards[agent]
