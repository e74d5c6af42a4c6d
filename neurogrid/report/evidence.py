"""A folder for whoever answers for data protection: what a run did with readings, made of its records alone.

Each sentence is of a record that is audited first. Households are not named: the config's lists of them are counts.
"""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from neurogrid.errors import RunError, UsageError
from neurogrid.fl.record import flat
from neurogrid.fl.registry import known_rule
from neurogrid.ledger.chain import Record
from neurogrid.ledger.records import command, read_chain, read_end, read_named
from neurogrid.ledger.verify import Verification, verify
from neurogrid.plural import plural
from neurogrid.storage import Place

PAGE, CONFIG, BILL, HASHES = "evidence.md", "config.yaml", "sbom.json", "sha256.txt"
_NAMING = (("teacher", "households"), ("aggregation", "trusted_households"), ("source", "exclude"))
"""Keys of the config that name households."""


def evidence(run: Place, folder: Path) -> list[str]:
    """Writes the folder whole, in the place of one that was made of the same run.

    Args:
        run: that has ended.
        folder: local; where it goes.

    Returns:
        The names of its files.

    Raises:
        UsageError: the run has not ended, or something else lies in the folder.
        RunError: the run is not what was written.
    """
    found = verify(run)
    if found.problems:
        raise RunError(
            f"run {run.name} has been modified, so nothing can be said for it",
            found="\n         ".join(found.problems),
            fix=f"{command(run, 'audit {}')} names what to restore",
        )
    end, records = read_end(run), read_chain(run)
    _refuse_another(run, folder)
    config = yaml.safe_load(read_named(run, records[0], CONFIG))
    summary = json.loads(read_named(run, end, "run_summary.json"))
    files = {
        PAGE: _page(run, found, records, config, summary),
        CONFIG: yaml.safe_dump(_without_names(config), sort_keys=False),
        BILL: json.dumps(bill_of_materials(), indent=2) + "\n",
        HASHES: "".join(f"{digest}  {name}\n" for name, digest in sorted(_hashes([*records, end]))),
    }
    _write(folder, files)
    return list(files)


def _refuse_another(run: Place, folder: Path) -> None:
    if folder.exists() and not _is_of(run, folder):
        raise UsageError(
            f"{folder} is there already, and is not the evidence of run {run.name}",
            fix="name another folder with --out, or move this one away",
        )


def _title(run: Place) -> str:
    return f"# Evidence of run {run.name}\n"


def _is_of(run: Place, folder: Path) -> bool:
    page = folder / PAGE
    return page.is_file() and page.read_text(errors="replace").startswith(_title(run))


def _write(folder: Path, files: Mapping[str, str]) -> None:
    beside, before = (folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp") for _ in range(2))
    try:
        beside.mkdir(parents=True)
        for name, text in files.items():
            (beside / name).write_text(text)
        if folder.exists():
            folder.rename(before)
        beside.rename(folder)
    finally:
        for left in (beside, before):
            shutil.rmtree(left, ignore_errors=True)


def _without_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with a count where it names households."""
    shown = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for section, key in _NAMING:
        named = shown.get(section, {}).get(key) or []
        if named:
            shown[section][key] = [f"{plural(len(named), 'name')} left out"]
    return shown


def _hashes(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """The name and the hash of each file that a record names."""
    for record in records:
        yield from dict(record.get("files") or {}).items()


def _page(
    run: Place, found: Verification, records: Sequence[Record], config: Mapping[str, Any], summary: Mapping[str, Any]
) -> str:
    genesis, last = records[0], flat(records[-1]) if len(records) > 1 else {}
    parts = [
        ("What was done", _done(genesis, summary)),
        ("What left the agents", _left_agents(config, last)),
        ("Differential privacy", _privacy(genesis, last)),
        ("Malicious agents", _defence(config, genesis, summary)),
        ("Households that opted out", _opted_out(last)),
        ("What is not protected", _open(genesis)),
        ("How to check this", _check(run, found)),
    ]
    body = "\n".join(f"## {title}\n\n" + "".join(f"- {line}\n" for line in lines) for title, lines in parts)
    return f"{_title(run)}\nMade of the run's records, which were audited when this was written.\n\n{body}"


def _done(genesis: Record, summary: Mapping[str, Any]) -> list[str]:
    return [
        f"{plural(summary['rounds'], 'round')} of federated learning with {plural(summary['n_agents'], 'agent')}, "
        f"begun {genesis['started']}. It ended because: {summary['reason']}.",
        f"Model {summary['model']} with {summary['n_weights']:,} weights. Nothing else of it is shared.",
        f"Who the agents are stands in manifest {genesis['manifest_id']} (SHA-256 {genesis['manifest_sha256']}).",
        f"NeuroGrid {genesis['neurogrid_version']}; {BILL} lists the packages of the machine that wrote this.",
    ]


def _left_agents(config: Mapping[str, Any], last: Mapping[str, Any]) -> list[str]:
    codec = config.get("uplink", {}).get("codec", "f32")
    size = last.get("uplink.update_bytes")
    lines = [
        "No reading left an agent's task. In each round an agent that was asked sent a change of the weights, "
        f"{'whole' if codec == 'f32' else f'coded as {codec}'}"
        f"{f' ({size:,.0f} bytes)' if size else ''}, with figures of its training.",
        "The server saw each agent's change by itself. There was no secure aggregation.",
    ]
    if config.get("personal", {}).get("steps", 0):
        lines.append("Each agent's personal weights stayed with it; the run has figures of how good they are.")
    return lines


def _privacy(genesis: Record, last: Mapping[str, Any]) -> list[str]:
    plan = genesis.get("privacy") or {}
    if not plan:
        return ["None. Weights may give away something of the readings that they were trained on."]
    if plan.get("test_seed") is not None:
        return ["None: the noise was drawn from a seed (privacy.test_seed), so anybody can take it away."]
    spent, delta = last.get("privacy.epsilon"), last.get("privacy.delta", plan.get("delta"))
    return [
        f"Level {plan.get('level')}, mode {plan['mode']}: {last.get('privacy.guarantee', 'see docs/privacy.md')}.",
        f"Spent: epsilon {spent:.3g} at delta {delta:.2g}, of a budget of {plan['epsilon']:g}."
        if spent is not None
        else f"Budget: epsilon {plan['epsilon']:g}; no round was recorded.",
        f"Noise of {plan['noise_multiplier']:.3g} times the clip of {plan['clip_norm']:g}; sampling "
        f"{plan['sampling']}; accounted for by dp-accounting ({plan['accountant']}).",
        "It rests on these: the noise is unknown, who was drawn is unknown, only weights are published, a household is "
        "one agent. docs/privacy.md says each in full. Losses, norms, pages and metrics have no noise.",
    ]


def _defence(config: Mapping[str, Any], genesis: Record, summary: Mapping[str, Any]) -> list[str]:
    own = config.get("aggregation", {})
    rule = known_rule(str(genesis["rule"]))
    borne = (
        f"a share of {own.get('byzantine_share', 0):g} of a round's agents was taken into account as malicious"
        if rule is None or rule.tolerates
        else "it is no defence against malicious agents"
    )
    lines = [
        f"Rule {genesis['rule']}, stages {', '.join(own.get('stages', []))}; {borne}.",
        f"{summary['updates_accepted']:,} of {summary['updates_asked']:,} updates asked for came into the model.",
    ]
    if genesis["attack"] == "none":
        return [*lines, "No attack was simulated, so this run says nothing of how much one would have done."]
    recall = summary.get("rejection_recall")
    return [
        *lines,
        f"Simulated attack: {genesis['attack']}; {plural(summary['updates_malicious'], 'malicious update')}, of which "
        f"{summary['malicious_rejected']:,} were rejected{'' if recall is None else f' ({100 * recall:.0f}%)'}. What "
        "came of it is seen beside a run without attack (`neurogrid compare`).",
    ]


def _opted_out(last: Mapping[str, Any]) -> list[str]:
    left = int(last.get("roster.left_agents") or 0)
    if not left:
        return ["No agent left the run because of a household that opted out."]
    return [f"{plural(left, 'agent')} left the run, and {'was' if left == 1 else 'were'} asked for nothing afterwards."]


def _open(genesis: Record) -> list[str]:
    lines = ["Whoever can read the warehouse can read all readings; see docs/who-holds-what.md."]
    if not genesis.get("privacy"):
        lines.append("An attack on the weights (membership inference, inversion) was not tried on this run.")
    return lines


def _check(run: Place, found: Verification) -> list[str]:
    return [
        f"`{command(run, 'audit {}')}` compares {plural(found.files, 'file')} with their hashes, and each record with "
        "the one before.",
        f"The newest record's SHA-256 is `{found.head}`. Keep it elsewhere: a chain that was rewritten has another.",
        f"{HASHES} has the hash of each file that a record names, as `sha256sum --check` reads it in the run's folder.",
        *(f"Break: {sentence}" for sentence in found.breaks),
    ]


def bill_of_materials() -> dict[str, Any]:
    """The Python packages that are installed here, as CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/)."""
    versions = {found.metadata["Name"]: found.version for found in metadata.distributions() if found.metadata["Name"]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "components": [
            {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{version}",
            }
            for name, version in sorted(versions.items(), key=lambda item: item[0].lower())
        ],
    }
