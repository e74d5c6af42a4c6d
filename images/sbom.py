"""Writes what an image is made of as a CycloneDX 1.6 document: Debian's packages, Python's, Java, and Spark's jars.

Run while the image is built, by the Python inside it: `sbom.py NAME VERSION [FOLDER_OF_JARS [JAVA_HOME]]`.
Scanners look packages up by their purl, so each has one of its own ecosystem; what has none is `pkg:generic`.
"""

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zipfile import ZipFile

Component = dict[str, Any]

_JAR = re.compile(r"(?P<name>.+?)-(?P<version>\d[\w.]*(?:-[\w.]+)*)\.jar$")
_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties")
JAVA_PACKAGE = "debian-package"
"""File in JAVA_HOME with name and version of the Debian package that the JVM is from; the Dockerfile writes it."""


def _component(kind: str, name: str, version: str, qualifiers: str = "", licence: str = "") -> Component:
    group, _, artifact = name.rpartition(":")
    purl = f"pkg:{kind}/{name.replace(':', '/')}@{quote(version, safe=':~')}{qualifiers}"
    found = {"type": "library", "name": artifact, "version": version, "purl": purl}
    if group:
        found["group"] = group
    if licence and len(licence) < 80 and "\n" not in licence:
        found["licenses"] = [{"license": {"name": licence}}]
    return found


def _distribution(os_release: Path = Path("/etc/os-release")) -> str:
    """Debian's release as purls name it: without it a scanner can't tell which fixes a version has."""
    fields = dict(line.split("=", 1) for line in os_release.read_text(encoding="utf-8").splitlines() if "=" in line)
    return f"?distro=debian-{fields.get('VERSION_ID', '').strip(chr(34))}"


def _debian(distribution: str) -> Iterator[Component]:
    for paragraph in Path("/var/lib/dpkg/status").read_text(encoding="utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"\w[\w-]*: ", line))
        if "installed" in fields.get("Status", "").split():
            yield _component("deb/debian", fields["Package"], fields["Version"], distribution)


def _python() -> list[Component]:
    found = {}
    for one in distributions():
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        licence = one.metadata.get("License-Expression") or one.metadata.get("License") or ""
        found[name] = _component("pypi", name, one.version, licence=licence)
    return [found[name] for name in sorted(found)]


def java(home: Path, distribution: str) -> Component:
    """The JVM. jlink copied it out of a Debian package that is not installed in the image, so dpkg doesn't list it."""
    package, version = (home / JAVA_PACKAGE).read_text(encoding="utf-8").split()
    return _component("deb/debian", package, version, distribution) | {"type": "application"}


def jars(folder: Path) -> list[Component]:
    """Every artefact in the jars of a folder, those that a jar holds beside its own too, by Maven's coordinates.

    A jar that names none of its own is listed by its file's name.
    """
    found = {}
    for jar in sorted(folder.glob("*.jar")):
        artefacts = list(_artefacts(jar))
        named = _JAR.match(jar.name)
        if named and not any(one["name"] == named["name"] for one in artefacts):
            name, version = named["name"], named["version"]
            artefacts.append(_component("generic", name, version, f"?file_name={jar.name}"))
        found.update({one["purl"]: one for one in artefacts})
    return list(found.values())


def _artefacts(jar: Path) -> Iterator[Component]:
    with ZipFile(jar) as content:
        for entry in sorted(filter(_POM.fullmatch, content.namelist())):
            lines = content.read(entry).decode("utf-8", "replace").splitlines()
            pairs = (line.partition("=") for line in lines if not line.startswith("#"))
            fields = {key.strip(): value.strip() for key, _, value in pairs}
            group, artefact, version = (fields.get(key, "") for key in ("groupId", "artifactId", "version"))
            if group and artefact and version:
                yield _component("maven", f"{group}:{artefact}", version)


def main(name: str, version: str, folder: str = "", java_home: str = "") -> None:
    """Prints the document."""
    distribution = _distribution()
    components = [*_debian(distribution), *_python()]
    components += [java(Path(java_home), distribution)] if java_home else []
    components += jars(Path(folder)) if folder else []
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
