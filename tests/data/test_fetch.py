"""Fetching raw readings, from a real web server on this machine."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neurogrid.cli.app import app
from neurogrid.data.fetch import download, whole
from neurogrid.errors import InputError, RunError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("site")
    (root / "1.csv").write_text("a;b\n1;2\n")
    with zipfile.ZipFile(root / "more.zip", "w") as archive:
        archive.writestr("meters/2.csv", "two")
    with tarfile.open(root / "yet.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("meters/3.csv")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"three"))
    with tarfile.open(root / "evil.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../outside.csv"), io.BytesIO())
    with tarfile.open(root / "link.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("way-out")
        link.type, link.linkname = tarfile.SYMTYPE, "/"
        archive.addfile(link)
    (root / "bad.zip").write_text("no archive")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", root
        server.shutdown()


def test_files_come_as_they_are_and_archives_are_unpacked(site: tuple[str, Path], tmp_path: Path) -> None:
    url, root = site
    digest = hashlib.sha256((root / "1.csv").read_bytes()).hexdigest()
    names = download([f"{url}/1.csv#sha256={digest}", f"{url}/more.zip", f"{url}/yet.tar.gz"], tmp_path / "data")
    assert names == ["1.csv", "meters/2.csv", "meters/3.csv"]
    assert (tmp_path / "data/1.csv").read_text() == "a;b\n1;2\n"


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/1.csv#sha256=" + "0" * 64, RunError, "is not what was to be fetched"),
        ("/none.csv", RunError, "cannot fetch"),
        ("/bad.zip", RunError, "cannot unpack"),
        ("/evil.tar.gz", RunError, "cannot unpack"),
        ("/link.tar.gz", RunError, "cannot unpack"),
        ("/", InputError, "cannot fetch"),
    ],
)
def test_what_cannot_be_used_is_refused_and_leaves_no_folder(
    site: tuple[str, Path], tmp_path: Path, path: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        whole(tmp_path / "data", lambda part: download([site[0] + path], part) and None)
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "outside.csv").exists()


def test_a_folder_that_is_there_is_left_alone(site: tuple[str, Path], tmp_path: Path) -> None:
    folder, runner = tmp_path / "data", CliRunner()
    for _ in range(2):
        again = runner.invoke(app, ["fetch", str(folder), f"{site[0]}/1.csv", "--if-missing"], catch_exceptions=False)
        assert again.exit_code == 0
    assert [file.name for file in tmp_path.iterdir()] == ["data"]
    made = [
        runner.invoke(app, ["synth", str(tmp_path / "s"), "--households=2", "--days=2", "--if-missing"]) for _ in "12"
    ]
    assert [result.exit_code for result in made] == [0, 0]
