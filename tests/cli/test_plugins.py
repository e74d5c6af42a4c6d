"""Rules, models, sources and backends of another package: their names are taken, and broken ones refused."""

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from in_process import neurogrid
from test_run_manifest import drawn, sampled  # noqa: F401 - fixtures

from neurogrid import registry
from neurogrid.fl.registry import RULES

MODULE = """
from neurogrid.backends.inline import InlineBackend
from neurogrid.backends.registry import BackendSpec
from neurogrid.data.layouts.declaration import Declaration
from neurogrid.data.layouts.registry import SourceSpec
from neurogrid.fl.registry import RuleSpec
from neurogrid.fl.rules import median
from neurogrid.workloads.meters.models.linear import LinearForecaster
from neurogrid.workloads.meters.registry import ModelSpec

SAID = []


class Halved(LinearForecaster):
    def __init__(self, settings, shape):
        super().__init__(settings, shape)
        SAID.append(dict(settings.params))


def entered(training):
    SAID.append(training.n_weights)
    return InlineBackend(training.factory)


HALVED = ModelSpec("halved", "half of a model", lambda: Halved, {"share": 0.5, "deep": False})
MIDDLE = RuleSpec("middle", "the middle", lambda: median, "entries", least_more=1)
BESIDE = BackendSpec("beside", "beside this process", lambda: entered)
METERS = SourceSpec(
    "town_meters",
    "meters of a town",
    lambda: (Declaration("x", household="meter", time=("at",), energy=("kwh",), shape="long", zone="UTC"),),
)
NO_MODEL = ModelSpec("no_model", "none", lambda: 7)
UNLOADED = BackendSpec("unloaded", "none", lambda: 1 / 0)
NO_LAYOUT = SourceSpec("no_layout", "none", lambda: (7,))
LINEAR = ModelSpec("linear", "another", lambda: Halved)
"""
ENTRIES = """
[neurogrid.models]
halved = town:HALVED
no_model = town:NO_MODEL
linear = town:LINEAR
other_name = town:HALVED
[neurogrid.rules]
middle = town:MIDDLE
not_there = town:NOT_THERE
[neurogrid.backends]
beside = town:BESIDE
unloaded = town:UNLOADED
no_module = village:BESIDE
[neurogrid.sources]
town_meters = town:METERS
no_layout = town:NO_LAYOUT
twice = town:METERS
"""
Install = Callable[[str, str], None]
PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()


def shown(heading: str, language: str) -> str:
    """The only block of code in that language under a heading of docs/python.md."""
    (part,) = re.findall(rf"^### {heading}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package with entry points, as pip would leave it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def installed(name: str, entries: str) -> None:
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entries)
        registry._registered.cache_clear()

    (site / "town.py").write_text(MODULE)
    installed("town-meters", ENTRIES)
    yield installed
    monkeypatch.undo()
    registry._registered.cache_clear()
    for module in ("town", *PAGES_PACKAGES):
        sys.modules.pop(module, None)


PAGES_PACKAGES = {"my_rule": "A rule", "my_model": "A model", "my_source": "A source"}


@pytest.fixture
def pages_packages(install: Install, tmp_path: Path) -> None:
    """The packages of docs/python.md, each installed by itself."""
    for module, heading in PAGES_PACKAGES.items():
        code = shown(heading, "python")
        assert code.startswith(f'"""{module}.py"""')
        (tmp_path / "site" / f"{module}.py").write_text(code)
        groups = tomllib.loads(shown(heading, "toml"))["project"]["entry-points"]
        lines = [
            f"[{group}]\n" + "\n".join(f"{key} = {of}" for key, of in own.items()) for group, own in groups.items()
        ]
        install(module.replace("_", "-"), "\n".join(lines) + "\n")


def test_the_rule_and_the_model_of_the_python_page_are_used_in_a_training(
    pages_packages: None,
    drawn: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    wanted = ["model.name=flat", "model.params={slots: 2}", "aggregation.rule=nearest", "backend.kind=inline"]
    sets = [part for each in [*wanted, "run_id=page"] for part in ("--set", each)]
    done = neurogrid("train", "-c", tmp_path / "small.yaml", "--warehouse", tmp_path / "w", *sets, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rule"], said["model"], said["reason"]) == ("nearest", "flat", "all rounds done")
    horizon = yaml.safe_load((tmp_path / "w" / "runs" / "page" / "config.yaml").read_text())["model"]["horizon_slots"]
    assert said["n_weights"] == 2 * horizon + 2 * (horizon + 1)


def test_the_rule_of_the_python_page_leaves_out_who_is_far_away(pages_packages: None) -> None:
    deltas = np.random.default_rng(1).normal(0, 1, (7, 50)).astype(np.float32)
    deltas[[2, 5]] += 9
    found = RULES.refuse_unusable("nearest").load()(deltas, 2)
    assert found.kept.tolist() == [True, True, False, True, True, False, True]


def test_the_source_of_the_python_page_reads_the_pages_file(pages_packages: None, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "town.csv").write_text(shown("A source", "csv"))
    etl = ("etl", "--dry-run", "--data-dir", tmp_path / "raw", "--warehouse", tmp_path / "w", "--json")
    done = neurogrid(*etl, "--set", "source.kind=town")
    assert done.returncode == 0, done.stderr
    (looked,) = json.loads(done.stdout)["looked_at"]
    assert (looked["households"], looked["faults"]) == (2, {})


def test_a_training_with_a_model_a_rule_and_a_backend_of_another_package(
    install: Install,
    drawn: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    wanted = ["model.name=halved", "model.params={share: 0.25}", "aggregation.rule=middle", "backend.kind=beside"]
    sets = [part for each in [*wanted, "run_id=r"] for part in ("--set", each)]
    done = neurogrid("train", "-c", tmp_path / "small.yaml", "--warehouse", tmp_path / "w", *sets, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rule"] == "middle"
    said = sys.modules["town"].SAID
    assert {"share": 0.25, "deep": False} in said
    assert [each for each in said if isinstance(each, int)] != []
    assert neurogrid("report", "r", "--warehouse", tmp_path / "w").returncode == 0


def test_files_of_a_source_of_another_package_are_read_by_its_declaration(install: Install, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    rows = [f"m{n % 2},2025-02-01 {n // 8:02}:{n % 8 // 2 * 15:02}:00,0.25" for n in range(96)]
    (tmp_path / "raw" / "all.csv").write_text("\n".join(["meter,at,kwh", *rows]) + "\n")
    etl = ("etl", "--dry-run", "--data-dir", tmp_path / "raw", "--warehouse", tmp_path / "w", "--json")
    done = neurogrid(*etl, "--set", "source.kind=town_meters")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["layout"], result["shape"]) == ("town_meters", "long")
    assert (result["looked_at"][0]["households"], result["looked_at"][0]["faults"]) == (2, {})
    assert "town_meters: meters of a town" in done.stderr
    assert neurogrid(*etl).returncode == 2, "auto looks for what is built in"


def test_the_schema_lists_what_is_installed_with_what_is_wrong_with_it(install: Install) -> None:
    said = neurogrid("config", "schema").stdout
    for line in (
        "| `halved` | half of a model |",
        "| `town_meters` | meters of a town |",
        "| `beside` | beside this process |",
        "| `middle` | the middle | single weights | 2f + 1 | no |",
        "| `no_module` | backend no_module, registered by town-meters as village:BESIDE, cannot be loaded: ",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("model.name=nonesuch", "'city_lstm' or 'linear' or 'halved'"),
        ("source.kind=nonesuch", "'auto' or 'generic' or 'heapo'"),
        ("backend.kind=nonesuch", "'spark' or 'inline' or 'beside'"),
        ("aggregation.rule=not_there", "rule not_there, registered by town-meters as town:NOT_THERE, cannot be loaded"),
        ("backend.kind=no_module", "cannot be loaded: ModuleNotFoundError: No module named 'village'"),
        ("backend.kind=unloaded", "town-meters as town:UNLOADED, cannot be loaded: ZeroDivisionError"),
        ("model.name=no_model", "town-meters as town:NO_MODEL, loads what is no model: 7"),
        ("model.name=other_name", "town-meters as town:HALVED, is not a ModelSpec of that name"),
        ("source.kind=no_layout", "town-meters as town:NO_LAYOUT, loads what is no source: (7,)"),
        ("model.name=linear", "model linear is registered by NeuroGrid and by town-meters; uninstall all but one"),
        ("source.kind=twice", "source twice is registered by town-meters and by village-meters"),
        ("model={name: halved, params: {wide: 1}}", "model halved has no setting wide; it has share, deep"),
        ("model={name: halved, params: {deep: 1}}", "deep of model halved is of type bool, found 1"),
        ("model.params={share: 1}", "model city_lstm has no setting share; it has none"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_when_the_config_is_read(install: Install, key: str, words: str) -> None:
    install("village-meters", "[neurogrid.sources]\ntwice = town:METERS\n")
    done = neurogrid("config", "show", "--set", key)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())


def test_nothing_of_another_package_is_imported_before_its_name_is_said(install: Install) -> None:
    assert neurogrid("config", "show").returncode == 0
    assert "town" not in sys.modules
