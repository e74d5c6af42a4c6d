"""The image's first program, where a platform chooses the user: OpenShift's users stand in no /etc/passwd."""

import subprocess
from pathlib import Path

ENTRYPOINT = Path(__file__).resolve().parent.parent / "images" / "spark" / "entrypoint.sh"
ID = """#!/usr/bin/env bash
case $1 in -un) {known} ;; -u) echo 1000680000 ;; -g) echo 0 ;; esac
"""


def environment(folder: Path, known: str) -> dict[str, str]:
    """What a command in the image sees, where `id -un` does `known`; tini is left out."""
    programs = {"id": ID.format(known=known), "tini": '#!/usr/bin/env bash\nexec "${@:3}"\n'}
    for name, body in programs.items():
        (folder / name).write_text(body)
        (folder / name).chmod(0o755)
    env = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), "SPARK_HOME": str(folder)}
    done = subprocess.run([ENTRYPOINT, "/usr/bin/env"], env=env, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def test_a_user_that_nobody_knows_gets_a_name_and_a_home(tmp_path: Path) -> None:
    seen = environment(tmp_path, "exit 1")
    assert seen["LD_PRELOAD"] == "libnss_wrapper.so"
    assert Path(seen["NSS_WRAPPER_PASSWD"]).read_text() == "spark:x:1000680000:0::/tmp:/usr/sbin/nologin\n"
    assert seen["NSS_WRAPPER_GROUP"] == "/etc/group"


def test_the_images_own_user_is_left_as_it_is(tmp_path: Path) -> None:
    assert "LD_PRELOAD" not in environment(tmp_path, "echo spark")
