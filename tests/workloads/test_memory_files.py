"""What agents remember on disk: found again as it was, refused when damaged, kept as long as a run may need it."""

import numpy as np
import pytest

from neurogrid.errors import RunError
from neurogrid.storage import place
from neurogrid.workloads.memory_files import MemoryFiles

REST = np.arange(5, dtype=np.float32)


@pytest.fixture
def files(tmp_path):
    return MemoryFiles(place(str(tmp_path / "memory")), "s1", 3)


def test_a_memory_is_found_as_it_was_and_no_other_for_it(files):
    files.write("A/../x", 2, 0, REST)
    assert files.read("A/../x", 2, 5).tolist() == REST.tolist()
    file = files.place("A/../x", 2)
    assert "x" not in file.path.removeprefix(files.folder.path).removesuffix(".safetensors")
    for agent, number, n in (("B", 2, 5), ("A/../x", 1, 5), ("A/../x", 2, 6)):
        with pytest.raises(RunError, match="cannot go on"):
            files.read(agent, number, n)
    content = file.read_bytes()
    files.place("B", 2).write(content)
    files.place("A/../x", 3).write(content)
    other = MemoryFiles(files.folder, "s2", 3)
    for where, agent, number in ((files, "B", 2), (files, "A/../x", 3), (other, "A/../x", 2)):
        with pytest.raises(RunError, match="another"):
            where.read(agent, number, 5)
    for damaged in (b"", content[:-1], content + b"0" * 5000, content.replace(b"F32", b"I32")):
        file.write(damaged)
        with pytest.raises(RunError, match="cannot go on"):
            files.read("A/../x", 2, 5)


def test_what_a_run_that_goes_back_may_ask_for_is_kept_and_nothing_older(files):
    taken = [1, 2, 5, 6, 7, 8]
    for before, number in zip([0, *taken], taken, strict=False):
        files.write("A", number, before, REST + number)
    files.write("A", 9, 8, REST)  # was not taken
    files.write("A", 10, 8, REST)
    kept = {int(f.name.removesuffix(".safetensors")) for f in _own(files)}
    # An order that comes again is of round 8 or later, and starts from round 7 at the earliest.
    assert kept == {7, 8, 9, 10}
    assert files.read("A", 7, 5).tolist() == (REST + 7).tolist()


def _own(files):
    return (files.folder / files.folder.children()[0].name).children()
