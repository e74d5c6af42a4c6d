"""From the config to a run's privacy plan, and the ledgers that it is counted in."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from neurogrid.config import Config
from neurogrid.data.manifest import Manifest
from neurogrid.errors import UsageError
from neurogrid.fl.privacy import AgentNoise, PrivacyPlan
from neurogrid.fl.spec import Spec
from neurogrid.ledger.chain import Record
from neurogrid.privacy import accounting, households, spending
from neurogrid.privacy.spending import Spending
from neurogrid.storage import Place


def plan(config: Config, agents: int) -> PrivacyPlan | None:
    """The plan of a run with so many agents; None where its config promises nothing.

    Raises:
        UsageError: no noise keeps its rounds within its budget, or the noise that it names lasts for none.
    """
    section, rounds = config.privacy, config.rounds.count
    if not section.on:
        return None
    delta = section.delta or accounting.delta_for(agents)
    without_noise = PrivacyPlan(
        mode=section.mode,
        clip_norm=section.clip_norm,
        noise_multiplier=0.0,
        sampling=section.sampling,
        agents=agents,
        agents_per_round=min(config.rounds.agents_per_round, agents),
        epsilon=section.budget,
        delta=delta,
        releases=0,
        accountant=section.accountant,
        clip_quantile=section.clip_quantile or 0.0,
        clip_share=section.clip_share if section.clip_quantile else 0.0,
        example_rate=section.example_rate if section.mode == "example" else 0.0,
        steps=config.local.steps if section.mode == "example" else 0,
        test_seed=section.test_seed,
        level=section.level,
    )
    noise = section.noise_multiplier
    if section.classic_round_epsilon is not None:
        noise = accounting.classic_noise(without_noise.sensitivity, section.classic_round_epsilon, delta)
    if noise is None:
        noise = accounting.noise_for(without_noise, rounds)
        return replace(without_noise, noise_multiplier=noise, releases=rounds)
    found = replace(without_noise, noise_multiplier=noise)
    releases = accounting.affordable(found, rounds)
    if not releases:
        raise UsageError(
            "the privacy budget does not pay for a single round",
            found=f"noise multiplier {noise:.3g}, epsilon {found.epsilon:g} at delta {delta:g}",
            fix="raise privacy.noise_multiplier or the budget, or leave the noise to the budget",
        )
    return replace(found, releases=releases)


def agent_noise(found: PrivacyPlan | None) -> AgentNoise | None:
    """What agents need that add the noise themselves; None where they do not."""
    return AgentNoise(found, secrets.randbits(128)) if found and found.mode != "central" else None


def refuse_statistics(found: PrivacyPlan | None, spec: Spec) -> None:
    """Raises UsageError where the model has statistics of its inputs, which no clip in the weights' unit can bound."""
    if found and spec.buffers:
        raise UsageError(
            "privacy cannot hide what BatchNorm and its like learn of an agent's readings",
            found=f"the model has statistics of its inputs: {', '.join(span.name for span in spec.buffers[:3])}",
            fix="use a model without them (GroupNorm or LayerNorm keep none), or set privacy.level to none",
        )


def refuse_split(found: PrivacyPlan | None, manifest: Manifest) -> None:
    """Raises UsageError where a household's readings are with several agents: to hide one agent hides no household."""
    if found and manifest.partition != "natural":
        raise UsageError(
            "privacy hides an agent, and in this manifest a household's readings are with several",
            found=f"its partition is {manifest.partition}",
            fix="sample with sampling.partition natural, or set privacy.level to none",
        )


def refuse_clear_start(found: PrivacyPlan | None, before: Config | None) -> None:
    """Raises UsageError where a private run would start from weights that were made without privacy."""
    if found and before is not None and (not before.privacy.on or before.privacy.test_seed is not None):
        raise UsageError(
            "a private run cannot start from weights that are not",
            found=f"run {before.run_id} had no privacy, and its weights give away what this run would hide",
            fix="start from a run with privacy, or from none",
        )


def refuse_spent(manifest: Manifest, warehouse: Place, found: PrivacyPlan | None, limit: float | None) -> None:
    """Raises UsageError where a household would have spent more than `limit` after this run; writes nothing."""
    if found and _is_kept(found):
        households.refuse_spent(warehouse, found, _households(manifest), limit)


def begin(
    run: Place, warehouse: Place, manifest: Manifest, found: PrivacyPlan, limit: float | None, rounds: int
) -> Spending:
    """Reserves the plan for the run's households, and gives its count of rounds, of which `rounds` are on record.

    Raises:
        UsageError: a household's limit would be crossed.
        RunError: a ledger cannot be read or written.
    """
    entry, releases = spending.found(run, rounds)
    if _is_kept(found):
        entry = households.reserve(warehouse, run.name, found, _households(manifest), limit, entry)
    counted = Spending(run, found, entry, releases)
    counted.write()
    return counted


def end(warehouse: Place, counted: Spending) -> dict[str, Any]:
    """Gives back what the run has reserved and not used; facts for its summary."""
    if counted.entry:
        households.settle(warehouse, counted.entry, counted.releases)
    spent = accounting.epsilon(counted.plan, counted.releases) if counted.plan.test_seed is None else None
    return {
        "privacy": {
            "epsilon": spent,
            "delta": counted.plan.delta,
            "guarantee": counted.plan.guarantee,
            "releases": counted.releases,
            "noise_multiplier": counted.plan.noise_multiplier,
        }
    }


def record(found: PrivacyPlan | None) -> Mapping[str, Any]:
    """The plan as a run's first record has it; empty without privacy."""
    return asdict(found) if found else {}


def refuse_another(genesis: Record, found: PrivacyPlan | None) -> None:
    """Raises UsageError where a run that goes on would not keep the plan that it began with."""
    before, now = genesis.get("privacy", {}), record(found)
    if before != now:
        others = [f"{key} {now.get(key)!r}, was {before.get(key)!r}" for key in now if now[key] != before.get(key)]
        raise UsageError(
            f"run {genesis['run_id']} was planned with another noise or budget",
            found="; ".join(others) or "it had privacy",
            fix="go on with the version of dp-accounting that it began with",
        )


def _is_kept(found: PrivacyPlan) -> bool:
    """Whether households' ledger knows of it: not where single windows are hidden, or nothing is."""
    return found.mode != "example" and found.test_seed is None


def _households(manifest: Manifest) -> list[str]:
    return sorted({part.household_id for agent in manifest.agents for part in agent.parts})
