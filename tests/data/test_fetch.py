"""Fetching raw readings, from a real web server on this machine: whole, or not at all."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neurogrid.cli.app import app
from neurogrid.data import fetch
from neurogrid.data.fetch import download, whole
from neurogrid.errors import InputError, RunError

LIMIT = 10**9
BODY = bytes(range(256)) * 80


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
    (root / "bad.zip").write_text("no archive")
    (root / "meters.7z").write_text("no archive")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", root
        server.shutdown()


def test_files_come_as_they_are_and_archives_are_unpacked(site: tuple[str, Path], tmp_path: Path) -> None:
    url, root = site
    digest = hashlib.sha256((root / "1.csv").read_bytes()).hexdigest()
    names = download([f"{url}/1.csv#sha256={digest}", f"{url}/more.zip", f"{url}/yet.tar.gz"], tmp_path / "data", LIMIT)
    assert names == ["1.csv", "meters/2.csv", "meters/3.csv"]
    assert (tmp_path / "data/1.csv").read_text() == "a;b\n1;2\n"


@pytest.mark.parametrize(
    ("paths", "error", "words"),
    [
        (["/1.csv#sha256=" + "0" * 64], RunError, "is not the one that was given"),
        (["/none.csv"], RunError, "cannot fetch"),
        (["/bad.zip"], RunError, "cannot unpack"),
        (["/"], InputError, "cannot fetch"),
        (["/1.csv", "/1.csv?again"], InputError, "would overwrite 1.csv"),
        (["/more.zip", "/more.zip?again"], RunError, "would overwrite a file of the same name"),
        (["/none.csv", "/meters.7z"], InputError, "7z x"),  # before anything is fetched
    ],
)
def test_what_cannot_be_used_is_refused_and_leaves_no_folder(
    site: tuple[str, Path], tmp_path: Path, paths: list[str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        whole(tmp_path / "data", lambda part: download([site[0] + path for path in paths], part, LIMIT) and None)
    assert not list(tmp_path.iterdir())


def test_a_url_is_told_without_what_may_be_secret(site: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RunError) as told:
        download([site[0].replace("//", "//me:secret@") + "/none.csv?signature=secret"], tmp_path / "data", LIMIT)
    assert "/none.csv" in str(told.value)
    assert "secret" not in str(told.value)


class Cut(BaseHTTPRequestHandler):
    """Closes after `cut` bytes of what it announced, for as long as `cuts` says; goes on where it is asked to."""

    tag, ranges, cut, cuts = '"one"', True, 12_000, 99
    asked: list[str | None]

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        wanted, kind = self.headers.get("Range"), type(self)
        self.asked.append(wanted)
        start = 0
        if wanted and self.ranges and self.headers.get("If-Range") == self.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if self.tag:
            self.send_header("ETag", self.tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        kind.cuts -= 1
        self.wfile.write(BODY[start:] if kind.cuts < 0 else BODY[start : start + self.cut])


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Cut]]]:
    monkeypatch.setattr(fetch, "_PAUSE_S", 0.0)
    kind = type("Own", (Cut,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/1.csv", kind
        server.shutdown()


def test_a_transfer_that_always_ends_early_is_refused(cut: tuple[str, type[Cut]], tmp_path: Path) -> None:
    url, kind = cut
    kind.tag = ""
    with pytest.raises(RunError, match="12,000 of 20,480 announced bytes came"):
        whole(tmp_path / "data", lambda part: download([url], part, LIMIT) and None)
    assert not list(tmp_path.iterdir())
    assert kind.asked == [None] * 3


def test_a_transfer_that_broke_off_goes_on_where_it_was(cut: tuple[str, type[Cut]], tmp_path: Path) -> None:
    url, kind = cut
    kind.cut = 3_000
    assert download([url], tmp_path / "data", LIMIT) == ["1.csv"]
    assert (tmp_path / "data" / "1.csv").read_bytes() == BODY
    assert kind.asked == [None, *(f"bytes={start}-" for start in range(3_000, len(BODY), 3_000))]


def test_where_the_server_cannot_go_on_the_file_comes_anew(cut: tuple[str, type[Cut]], tmp_path: Path) -> None:
    url, kind = cut
    kind.ranges, kind.cuts = False, 2
    download([url], tmp_path / "data", LIMIT)
    assert (tmp_path / "data" / "1.csv").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_not_put_together_of_two(
    cut: tuple[str, type[Cut]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, kind = cut
    kind.cuts = 1
    plain = kind.do_GET

    def changing(self: Cut) -> None:
        plain(self)
        kind.tag = '"two"'

    monkeypatch.setattr(kind, "do_GET", changing)
    download([url], tmp_path / "data", LIMIT)
    assert (tmp_path / "data" / "1.csv").read_bytes() == BODY


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
