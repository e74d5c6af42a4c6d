"""`neurogrid k8s` where there is no cluster, none that answers, or none that is meant."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import neurogrid

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: u, user: {{token: none}}}}]
contexts: [{{name: here, context: {{cluster: c, user: u, namespace: power}}}}]
current-context: here
"""


def k8s(*arguments: str, kubeconfig: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "neurogrid", "k8s", *arguments]
    env = {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=100, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig for a port on which nobody listens: ours, so that nobody else does."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        file = tmp_path / "closed"
        file.write_text(KUBECONFIG.format(port=held.getsockname()[1]))
        yield file


def test_without_a_kubeconfig_the_command_says_which_file_it_looked_for(tmp_path: Path) -> None:
    code, said = k8s("status", kubeconfig=tmp_path / "missing")
    assert code == 2
    assert "no cluster to talk to" in said
    assert str(tmp_path / "missing") in said
    assert "KUBECONFIG" in said


def test_a_kubeconfig_that_is_no_yaml_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("clusters: [")
    code, said = k8s("status", kubeconfig=tmp_path / "broken")
    assert code == 2
    assert "no cluster to talk to" in said


def test_an_unknown_context_is_refused_with_those_that_there_are(closed: Path) -> None:
    code, said = k8s("status", "--context", "there", kubeconfig=closed)
    assert code == 2
    assert 'no context "there"' in said
    assert "here" in said


def test_a_cluster_that_does_not_answer_is_told_at_once_and_by_its_address(closed: Path) -> None:
    began = time.monotonic()
    code, said = k8s("status", kubeconfig=closed)
    assert code == 1
    assert "does not answer at http://127.0.0.1:" in said
    assert "Connection refused" in said
    assert "object at 0x" not in said
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("submit", "train", "--executors", "0"), "be greater than or equal to 1"),
        (("scale", "train"), "Missing argument"),
    ],
)
def test_wrong_arguments_are_refused_before_the_cluster_is_asked(
    arguments: tuple[str, ...], words: str, closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(closed))
    done = neurogrid("k8s", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
