"""Writes what an image is made of as a CycloneDX 1.6 document: Debian's packages, Python's, and Spark's jars.

Run while the image is built, by the Python inside it: `sbom.py NAME VERSION [FOLDER_OF_JARS] > sbom.cdx.json`.
"""

import json
import re
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

_JAR = re.compile(r"(?P<name>.+?)-(?P<version>\d[\w.]*(?:-[\w.]+)*)\.jar$")


def _component(kind: str, name: str, version: str, licence: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"type": "library", "name": name, "version": version}
    if kind == "generic":
        found["purl"] = f"pkg:generic/{name}@{version}?file_name={name}-{version}.jar"
    else:
        found["purl"] = f"pkg:{kind}/{name}@{version}"
    if licence and len(licence) < 80 and "\n" not in licence:
        found["licenses"] = [{"license": {"name": licence}}]
    return found


def _debian() -> list[dict[str, Any]]:
    found = []
    for paragraph in Path("/var/lib/dpkg/status").read_text(encoding="utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"\w[\w-]*: ", line))
        if "installed" in fields.get("Status", "").split():
            found.append(_component("deb/debian", fields["Package"], fields["Version"]))
    return found


def _python() -> list[dict[str, Any]]:
    found = {}
    for one in distributions():
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        licence = one.metadata.get("License-Expression") or one.metadata.get("License") or ""
        found[name] = _component("pypi", name, one.version, licence)
    return [found[name] for name in sorted(found)]


def _jars(folder: Path) -> list[dict[str, Any]]:
    matches = [_JAR.match(jar.name) for jar in sorted(folder.glob("*.jar"))]
    return [_component("generic", match["name"], match["version"]) for match in matches if match]


def main(name: str, version: str, jars: str = "") -> None:
    """Prints the document."""
    components = _debian() + _python() + (_jars(Path(jars)) if jars else [])
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": components,
    }
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
