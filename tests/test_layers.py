"""Who may import whom, and a few things that no module may do: read from the source, so that nothing has to be run.

A part is a folder or a module directly under neurogrid/. An import counts wherever it stands, in a function too.
"""

import ast
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from neurogrid.randomness import Purpose

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "neurogrid"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400

# part: (parts of neurogrid, packages of others) that it may import, beside itself and the standard library
MAY_IMPORT: dict[str, tuple[set[str], set[str]]] = {
    "errors": (set(), set()),
    "plural": (set(), set()),
    "randomness": (set(), {"numpy"}),
    "job_errors": (set(), set()),
    "registry": (set(), set()),
    "tasks": ({"errors"}, {"numpy", "pydantic", "pyspark"}),
    "storage": ({"errors"}, {"pyarrow"}),
    "lock": ({"errors", "storage"}, set()),
    "incluster": ({"errors"}, set()),
    "session": ({"errors", "job_errors"}, {"pyspark", "py4j", "psutil"}),
    "config": ({"errors", "registry", "backends", "data", "fl", "workloads"}, {"pydantic", "yaml"}),
    "fl": ({"plural", "randomness", "registry"}, {"numpy", "torch", "threadpoolctl"}),
    "data": (
        {"errors", "plural", "randomness", "registry", "storage", "tasks"},
        {"numpy", "pyarrow", "pydantic", "pyspark", "py4j"},
    ),
    "workloads": (
        {"errors", "plural", "randomness", "registry", "storage", "tasks", "data", "fl"},
        {"numpy", "pyarrow", "pydantic", "pyspark", "safetensors", "torch", "lightgbm"},
    ),
    "teacher": (
        {"errors", "job_errors", "plural", "randomness", "session", "storage", "data", "fl", "ledger", "workloads"},
        {"numpy", "pyarrow", "pyspark", "torch"},
    ),
    "backends": (
        {"errors", "job_errors", "plural", "registry", "fl"},
        {"numpy", "pyarrow", "pyspark", "cryptography", "psutil"},
    ),
    "ledger": (
        {"errors", "plural", "storage", "lock", "fl", "__init__"},
        {"numpy", "pyarrow", "safetensors", "threadpoolctl", "torch"},
    ),
    # Accounting, and who has spent what; the noise itself is added in fl.
    "privacy": ({"errors", "plural", "storage", "lock", "fl"}, {"pydantic", "dp_accounting"}),
    "report": (
        {"errors", "plural", "storage", "data", "fl", "ledger"},
        {"numpy", "pyarrow", "matplotlib", "PIL", "jinja2", "markupsafe", "yaml"},
    ),
    # What leaves the warehouse: an exported model, and the interface for notebooks.
    "serving": (
        {"errors", "randomness", "storage", "data", "fl", "workloads"},
        {"numpy", "pandas", "pyarrow", "pydantic", "safetensors", "torch", "onnx", "onnxscript", "onnxruntime"},
    ),
    "bench": (
        {"errors", "plural", "randomness", "storage", "session", "data", "fl", "backends", "ledger"}
        | {"teacher", "workloads"},
        {"numpy", "pyarrow", "pyspark", "torch", "duckdb", "polars", "psutil", "threadpoolctl", "byzfl", "sklearn"},
    ),
    "cluster": ({"errors", "plural"}, {"kubernetes", "urllib3", "yaml"}),
    "telemetry": ({"errors", "storage", "fl", "data"}, {"pyarrow", "prometheus_client", "opentelemetry"}),
    # A run as a service: it says nothing to people, so it knows no terminal.
    "pipeline": (
        {"errors", "plural", "storage", "lock", "session", "incluster", "config", "data", "workloads", "fl", "backends"}
        | {"ledger", "teacher", "report", "telemetry", "cluster", "bench", "serving", "privacy"},
        {"pyspark"},
    ),
    "cli": (
        {"errors", "plural", "storage", "lock", "incluster", "config", "pipeline", "data", "fl", "ledger", "teacher"}
        | {"report", "bench", "cluster", "telemetry", "registry", "backends", "workloads"},
        {"typer", "rich", "yaml", "pydantic", "psutil", "pyspark"},
    ),
    "__main__": ({"cli"}, set()),
    "__init__": ({"serving"}, set()),
}
# Modules of one part that know nothing of each other, though the part is one: a backend runs without the other.
APART = [
    ("neurogrid.backends.inline", set()),
    ("neurogrid.backends.leases", set()),
]


# Steps of the pipeline: they take plans, and whatever watches them. What the config says stands in the plans.
TAKE_PLANS = ("etl", "steps", "training", "teaching", "forecasting", "exporting", "completion", "events")


@dataclass(frozen=True)
class Import:
    module: str
    line: int


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> list[Import]:
    """Whole names of what a file imports; `from neurogrid import x` is neurogrid.x."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write the whole name"
            assert node.module is not None
            names = [f"neurogrid.{alias.name}" for alias in node.names] if node.module == "neurogrid" else [node.module]
            found += [Import(name, node.lineno) for name in names]
    return found


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


@cache
def calls_by_name(path: Path) -> dict[str, list[ast.Call]]:
    found: dict[str, list[ast.Call]] = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            found.setdefault(getattr(node.func, "attr", getattr(node.func, "id", "")), []).append(node)
    return found


def calls(path: Path, name: str) -> list[ast.Call]:
    """Calls of a function or method called `name`."""
    return calls_by_name(path).get(name, [])


@cache
def attributes(path: Path) -> list[tuple[str, int]]:
    """Dotted names like `np.random.seed` with their lines."""
    return [(ast.unparse(node), node.lineno) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)]


@pytest.mark.parametrize("part", sorted({part_of(path) for path in MODULES}))
def test_a_part_imports_only_what_the_table_lets_it(part):
    assert part in MAY_IMPORT, f"neurogrid/{part} is new: say in MAY_IMPORT what it may import"
    ours, others = MAY_IMPORT[part]
    wrong = []
    for path in MODULES:
        if part_of(path) != part:
            continue
        for found in imports(path):
            top, *rest = found.module.split(".")
            if top in sys.stdlib_module_names:
                continue
            allowed, name = (ours, rest[0] if rest else "") if top == "neurogrid" else (others, top)
            # The package itself holds only its version, and a function that loads what it needs when it is called.
            if top == "neurogrid" and name in (part, "", "__version__"):
                continue
            if name not in allowed:
                wrong.append(f"{place(path, found.line)} imports {found.module}")
    assert wrong == []


def test_the_config_knows_the_names_of_what_is_registered_and_imports_nothing_that_runs():
    parts = ("neurogrid.fl", "neurogrid.data", "neurogrid.backends", "neurogrid.workloads")
    found = {i.module for path in MODULES if part_of(path) == "config" for i in imports(path)}
    assert {name.rpartition(".")[2] for name in found if name.startswith(parts)} == {"registry"}
    heavy = "{'numpy', 'torch', 'pyarrow', 'pyspark', 'neurogrid.fl.rules'}"
    loaded = f"import sys, neurogrid.config; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def importers(module: str) -> set[str]:
    return {dotted(path) for path in MODULES for found in imports(path) if found.module == module}


def test_only_the_command_line_and_what_makes_plans_read_the_config():
    readers = importers("neurogrid.config")
    assert {name.split(".")[1] for name in readers} <= {"cli", "pipeline"}
    assert not readers & {f"neurogrid.pipeline.{name}" for name in TAKE_PLANS}


def test_the_pipeline_says_nothing_to_people():
    assert [
        place(path, c.lineno) for path in MODULES if part_of(path) == "pipeline" for c in calls(path, "print")
    ] == []


def test_the_command_line_knows_of_learning_only_what_it_shows():
    found = {i.module for path in MODULES if part_of(path) == "cli" for i in imports(path)}
    assert {name for name in found if name.startswith("neurogrid.fl")} == {
        "neurogrid.fl.record",
        "neurogrid.fl.registry",
    }
    assert {name for name in found if name.startswith("neurogrid.teacher")} == {"neurogrid.teacher.settings"}
    run = ("neurogrid.backends", "neurogrid.workloads")
    assert {name for name in found if name.startswith(run)} == {
        "neurogrid.backends.registry",
        "neurogrid.workloads.meters.registry",
    }


@pytest.mark.parametrize(("module", "may"), APART)
def test_backends_do_not_know_each_other(module, may):
    found = {i.module for path in MODULES if dotted(path) == module for i in imports(path)}
    assert {name for name in found if name.startswith("neurogrid.backends")} <= may
    assert not any(name.startswith(("pyspark", "pyarrow")) for name in found)
    others = {
        dotted(path)
        for path in MODULES
        if part_of(path) == "backends" and any(i.module == "neurogrid.backends.inline" for i in imports(path))
    }
    assert others == {"neurogrid.backends.registry"}


def test_workloads_do_not_know_each_other():
    for path in MODULES:
        if part_of(path) == "workloads":
            own = ".".join(dotted(path).split(".")[:3])
            other = [i.module for i in imports(path) if i.module.startswith("neurogrid.workloads")]
            assert all(name.startswith(own) for name in other), path


# Where a household's readings are opened: by its agent, by its scores, by its forecast, and by a benchmark of ours.
OPEN_READINGS = {
    "neurogrid.workloads.meters.agent",
    "neurogrid.workloads.meters.evaluation.jobs",
    "neurogrid.workloads.meters.fleet",
    "neurogrid.workloads.meters.newcomers",
    "neurogrid.bench.teacher_gain",
}


def test_the_loop_and_the_commands_that_drive_it_open_no_households_readings():
    found = {dotted(p) for p in MODULES for name in ("read_household", "read_part", "read_current") if calls(p, name)}
    assert {name for name in found if not name.startswith("neurogrid.data")} == OPEN_READINGS


def test_entry_files_of_jobs_import_the_command_line_and_nothing_else_of_ours():
    for path in sorted((ROOT / "jobs").glob("*.py")):
        ours = {found.module for found in imports(path) if found.module.startswith("neurogrid")}
        assert all(name.startswith("neurogrid.cli") for name in ours), path


def test_only_session_builds_a_spark_session():
    assert [dotted(p) for p in MODULES if calls(p, "getOrCreate")] == ["neurogrid.session"]


def test_nothing_is_pickled_and_tensors_are_loaded_without_code():
    for path in MODULES:
        for found in imports(path):
            assert found.module.split(".")[0] not in {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}, (
                path
            )
        for call in calls(path, "load"):
            if ast.unparse(call.func) == "torch.load":
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                assert given.get("weights_only") == "True", place(path, call.lineno)
        for call in calls(path, "load"):
            if ast.unparse(call.func) in {"np.load", "numpy.load"}:
                assert "allow_pickle" not in {keyword.arg for keyword in call.keywords}, place(path, call.lineno)


# What gives the driver Python objects that tasks have pickled, or pandas that it unpickles.
COLLECTS = ("collect", "collectAsMap", "toLocalIterator", "toPandas", "takeOrdered", "takeSample", "accumulator")


def test_no_result_of_a_task_is_unpickled():
    ours = [path for path in MODULES if part_of(path) != "bench"]
    # One takes bytes as they are, the other a table's text, which the JVM has read and pickles itself.
    assert {dotted(p) for p in ours for name in COLLECTS if calls(p, name)} == {
        "neurogrid.tasks",
        "neurogrid.teacher.stage",
    }
    assert {dotted(p) for p in ours if calls(p, "TorchDistributor")} == set()
    pickles = {"pyspark.serializers", "pyspark.cloudpickle"}
    # One reads past updates of accumulators, the other unpickles in the task that has pickled.
    assert {dotted(p) for p in ours for found in imports(p) if found.module in pickles} == {
        "neurogrid.session",
        "neurogrid.teacher.stage",
    }


def test_yaml_is_loaded_without_code():
    unsafe = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all"}
    for path in MODULES:
        for name, line in attributes(path):
            assert name not in unsafe, place(path, line)


def test_nothing_draws_from_a_global_random_state_and_torchs_own_is_set_in_one_place():
    seeded = {"Generator", "PCG64", "SeedSequence", "BitGenerator"}
    drawing = {"manual_seed", "seed", "rand", "randn", "randint", "randperm", "normal", "bernoulli"}
    wrong = []
    for path in MODULES:
        wrong += [place(path, found.line) for found in imports(path) if found.module == "random"]
        for name, line in attributes(path):
            package, _, last = name.rpartition(".")
            if package in {"np.random", "numpy.random"} and last not in seeded:
                wrong.append(f"{place(path, line)} {name}")
        for name in drawing:
            for call in calls(path, name):
                given = {keyword.arg for keyword in call.keywords}
                said = ast.unparse(call.func)
                if said.startswith("torch.") and "Generator(" not in said and "generator" not in given:
                    wrong.append(f"{place(path, call.lineno)} {said}")
    # Layers like dropout draw from it, so it is set, from a stream of ours, before anybody trains.
    assert {line.partition(":")[0] for line in wrong} == {"neurogrid/fl/local.py"}
    assert {line.partition(" ")[2] for line in wrong} == {
        "torch.default_generator.manual_seed",
        "torch.cuda.manual_seed",
    }


def test_every_stream_of_random_numbers_has_a_name_of_one_module_alone():
    purposes = set(get_args(Purpose))
    drawn: dict[str, set[str]] = {purpose: set() for purpose in purposes}
    for path in MODULES:
        if part_of(path) == "randomness":
            continue
        said = [call.args[1] for call in calls(path, "generator")] + [call.args[3] for call in calls(path, "draw")]
        for purpose in {node.value for node in said if isinstance(node, ast.Constant)}:
            drawn[purpose].add(dotted(path))
        made = [name for name, _ in attributes(path) if name.endswith("PCG64")]
        assert made == [], f"{path} makes a generator of its own"
    assert {purpose: modules for purpose, modules in drawn.items() if len(modules) != 1} == {}


def test_the_environment_is_read_only_where_a_process_begins():
    allowed = {"session", "cli", "__main__"}
    wrong = [
        place(path, line)
        for path in MODULES
        for name, line in attributes(path)
        if name in {"os.environ", "os.getenv"} and part_of(path) not in allowed
    ]
    assert wrong == []


def test_modules_are_not_imported_by_strings():
    for path in MODULES:
        assert not calls(path, "import_module") + calls(path, "__import__"), path


def test_no_file_is_longer_than_a_reader_bears():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}


def test_no_work_is_left_for_later_in_a_comment():
    marks = tuple(mark + end for mark in ("TO" + "DO", "FIX" + "ME", "XX" + "X") for end in ("", ":"))
    wrong = [
        place(path, number)
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(word in marks for word in line.replace("(", " ").split())
    ]
    assert wrong == []


def test_no_part_is_a_drawer_for_what_belongs_nowhere():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
    assert [str(path) for path in MODULES if drawers & set(path.with_suffix("").parts[len(PACKAGE.parts) :])] == []
