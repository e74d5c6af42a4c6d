"""Our dashboards against what Grafana publishes: the types of its SDK, and the schema of its npm package.

The schema is fetched (npm), and made a JSON schema in which nothing may stand that it does not know.
"""

import json
import shutil
import subprocess
from typing import Any

import jsonschema
import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from panel_queries import boards, panels

BOARDS = boards()
PACKAGES = ("@grafana/schema@13.2.3", "ts-json-schema-generator@2.10.0")
PANELS = ("timeseries", "stat", "bargauge", "table")
TYPES = "node_modules/@grafana/schema/dist/types/raw"
NOT_STATED = {"expr"}
"""Of an annotation: the schema leaves to the data source what it is asked. The SDK's type has it."""


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_a_dashboard_read_by_grafanas_sdk_is_written_the_same_again(uid: str) -> None:
    plugins.register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(BOARDS[uid]), cls=JSONEncoder))
    for panel in again["panels"]:
        if panel["type"] == "table":
            panel["options"].pop("footer")  # the SDK's own, which Grafana's schema has no more
    assert {name: again[name] for name in BOARDS[uid] if name != "templating"} == {
        name: value for name, value in BOARDS[uid].items() if name != "templating"
    }
    for own, read in zip(BOARDS[uid]["templating"]["list"], again["templating"]["list"], strict=True):
        assert own.items() <= read.items()


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """JSON schemas by name: `dashboard`, and one for each type of panel."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on the PATH, and brings Grafana's schema")
    folder = tmp_path_factory.mktemp("schema")
    (folder / "package.json").write_text("{}")
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot fetch Grafana's schema: {done.stderr[-300:]}")
    options = {"module": "esnext", "moduleResolution": "bundler", "target": "es2022", "skipLibCheck": True, "types": []}
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options}))
    files = {"dashboard": "dashboard/x"} | {name: f"composable/{name}/panelcfg/x" for name in PANELS}
    found = {}
    for name, where in files.items():
        wanted = "export type Board = of.Dashboard;" if name == "dashboard" else "export type Choices = of.Options;"
        if name in {"timeseries", "table"}:
            wanted += "export type Field = of.FieldConfig;"
        (folder / f"{name}.ts").write_text(f"import type * as of from './{TYPES}/{where}/types.gen';\n{wanted}\n")
        make = ["node", "node_modules/.bin/ts-json-schema-generator", "--path", f"{name}.ts", "--type", "*"]
        make += ["--tsconfig", "tsconfig.json", "--no-type-check", "-o", f"{name}.json"]
        subprocess.run(make, cwd=folder, capture_output=True, text=True, timeout=300, check=True)
        found[name] = json.loads((folder / f"{name}.json").read_text())
    return found


def faults(schema: dict[str, Any], name: str, value: Any) -> list[str]:
    """What the schema refuses; a panel's option that is left out is no fault, since Grafana has a default for each."""
    validator = jsonschema.Draft7Validator({**schema, "$ref": f"#/definitions/{name}"})
    found = [error for error in validator.iter_errors(value) if name == "Panel" or error.validator != "required"]
    return [f"{list(error.absolute_path)}: {error.message}" for error in found]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_a_dashboard_is_one_by_grafanas_published_schema(uid: str, schemas: dict[str, dict[str, Any]]) -> None:
    board = json.loads(json.dumps(BOARDS[uid]))
    for annotation in board["annotations"]["list"]:
        for name in NOT_STATED:
            annotation.pop(name, None)
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    assert faults(schemas["dashboard"], "Board", {**board, "panels": []}) == []
    assert [fault for row in rows for fault in faults(schemas["dashboard"], "RowPanel", row)] == []
    for panel in panels(board):
        own = schemas[panel["type"]]
        assert faults(schemas["dashboard"], "Panel", panel) == [], panel["title"]
        assert faults(own, "Choices", panel["options"]) == [], panel["title"]
        if "Field" in own["definitions"]:
            custom = panel["fieldConfig"]["defaults"].get("custom", {})
            assert faults(own, "Field", custom) == [], panel["title"]
        # What overrides set of a panel's own fields is known to its schema, too.
        for override in panel["fieldConfig"]["overrides"] or []:
            set_ = {p["id"].removeprefix("custom."): p["value"] for p in override["properties"] if "custom." in p["id"]}
            assert not set_ or faults(own, "Field", set_) == [], panel["title"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_schema_refuses_what_it_does_not_know(schemas: dict[str, dict[str, Any]]) -> None:
    (panel, *_) = panels(BOARDS["neurogrid-run"])
    assert faults(schemas["dashboard"], "Panel", {**panel, "colour": "red"})
    assert faults(schemas[panel["type"]], "Choices", {**panel["options"], "colorMode": "loud"})
