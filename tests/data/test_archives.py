"""Archives: a damaged, hostile or odd one is refused in words, and never becomes other readings."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurogrid.data.archives import is_archive, unpack
from neurogrid.errors import InputError, RunError

LIMIT = 10**7
FILES = {
    f"meters/{n}.csv": "".join(
        f"{n},{i},{v:.3f}\n" for i, v in enumerate(np.random.default_rng(n).random(300))
    ).encode()
    for n in (7803, 7804, 7805)
}


def tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


PACKED = {
    "r.zip": zipped(FILES),
    "r.tar": tar(FILES),
    "r.tar.gz": gzip.compress(tar(FILES)),
    "r.tgz": gzip.compress(tar(FILES)),
    "r.tar.xz": lzma.compress(tar(FILES)),
    "r.tar.bz2": bz2.compress(tar(FILES)),
    "r.tar.zst": pa.compress(tar(FILES), "zstd", asbytes=True),
    "R.ZIP": zipped(FILES),
    "R.Tar.GZ": gzip.compress(tar(FILES)),
}
CHECKED = ["r.zip", "r.tar.gz", "r.tar.xz", "r.tar.bz2"]
"""Those whose own checksum covers every byte of what is in them."""


def unpacked(folder: Path, name: str, content: bytes, limit: int = LIMIT) -> dict[str, bytes]:
    (folder / name).write_bytes(content)
    assert is_archive(name)
    unpack(folder / name, limit)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refusal(folder: Path, name: str, content: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(RunError) as told:
        unpacked(folder, name, content, limit)
    assert f"cannot unpack {name}" in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("name", PACKED)
def test_every_kind_of_archive_gives_its_files_and_goes(tmp_path: Path, name: str) -> None:
    assert unpacked(tmp_path, name, PACKED[name]) == FILES


@pytest.mark.parametrize("name", CHECKED)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_refused_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray(PACKED[name])
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    try:
        found = unpacked(tmp_path_factory.mktemp("flipped"), name, bytes(content))
    except RunError:
        return
    # A zip says names twice, and which of its flags count for nothing; contents are what its checksums cover.
    assert sorted(found.values()) == sorted(FILES.values())


@pytest.mark.parametrize("name", [*CHECKED, "r.tar", "r.tar.zst"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_that_is_cut_off_is_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    # A tar ends with more zeros than it has to.
    whole = len(PACKED[name]) if name != "r.tar" else len(PACKED[name].rstrip(b"\0"))
    refusal(tmp_path_factory.mktemp("cut"), name, PACKED[name][: data.draw(st.integers(0, whole - 1))])


def test_a_damaged_header_within_a_tar_is_no_end(tmp_path: Path) -> None:
    content = bytearray(PACKED["r.tar"])
    second = content.index(b"meters/7804.csv")
    content[second] ^= 1
    assert "damaged after meters/7803.csv" in refusal(tmp_path, "r.tar", bytes(content))


@pytest.mark.parametrize("name", ["r.zip", "r.tar.gz"])
@pytest.mark.parametrize("member", ["../../out.csv", "/out.csv", "..\\out.csv", "C:\\out.csv", "a/../../out.csv"])
def test_no_member_leaves_the_folder(tmp_path: Path, name: str, member: str) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    packed = zipped({member: b"1"}) if name == "r.zip" else gzip.compress(tar({member: b"1"}))
    assert "would leave the folder" in refusal(folder, name, packed)
    assert not list(tmp_path.rglob("out.csv"))


@pytest.mark.parametrize("name", ["r.zip", "r.tar.gz"])
def test_no_file_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / "meters").mkdir()
    (tmp_path / "meters" / "7804.csv").write_text("June")
    assert "meters/7804.csv would overwrite" in refusal(tmp_path, name, PACKED[name])
    assert (tmp_path / "meters" / "7804.csv").read_text() == "June"


def test_what_windows_packs_lies_in_folders(tmp_path: Path) -> None:
    assert unpacked(tmp_path, "r.zip", zipped({"sgsc\\7808.csv": b"1"})) == {"sgsc/7808.csv": b"1"}


def test_links_are_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        link = tarfile.TarInfo("way-out")
        link.type, link.linkname = tarfile.SYMTYPE, "/"
        archive.addfile(link)
    assert "way-out is neither a file nor a folder" in refusal(tmp_path, "r.tar", packed.getvalue())
    link = zipfile.ZipInfo("way-out")
    link.external_attr = 0o120777 << 16
    again = io.BytesIO()
    with zipfile.ZipFile(again, "w") as archive:
        archive.writestr(link, "/")
    assert "way-out is neither a file nor a folder" in refusal(tmp_path, "r.zip", again.getvalue())


def test_an_encrypted_one_and_one_of_windows_own_compression_are_said_in_words(tmp_path: Path) -> None:
    content = bytearray(zipped({"1.csv": b"1"}))
    local, central = content.index(b"PK\3\4"), content.index(b"PK\1\2")
    content[local + 6] |= 1
    content[central + 8] |= 1
    assert "1.csv is encrypted" in refusal(tmp_path, "locked.zip", bytes(content))
    content = bytearray(zipped({"1.csv": b"1"}))
    content[local + 8], content[central + 10] = 9, 9
    said = refusal(tmp_path, "deflate64.zip", bytes(content))
    assert "compression" in said
    assert "unpack it with another program" in said


@pytest.mark.parametrize("name", ["r.zip", "r.tar.gz", "r.tar.zst"])
def test_one_that_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path, name: str) -> None:
    bomb = {"1.csv": bytes(10**6), "2.csv": bytes(10**6)}
    kinds = {"r.zip": zipped, "r.tar.gz": lambda f: gzip.compress(tar(f))}
    packed = kinds.get(name, lambda f: pa.compress(tar(f), "zstd", asbytes=True))(bomb)
    assert len(packed) < 10**5
    assert "--unpack-limit-gb" in refusal(tmp_path, name, packed, limit=1_500_000)


@pytest.mark.parametrize(("name", "command"), [("r.7z", "7z x"), ("R.7Z", "7z x"), ("r.rar", "unrar x")])
def test_archives_that_cannot_be_read_are_refused_with_what_reads_them(name: str, command: str) -> None:
    with pytest.raises(InputError, match=command):
        is_archive(name)


@pytest.mark.parametrize("name", ["1.csv", "1.csv.gz", "1.csv.zst", "zip", "1.zip.csv"])
def test_other_files_stay_as_they_are(name: str) -> None:
    assert not is_archive(name)
