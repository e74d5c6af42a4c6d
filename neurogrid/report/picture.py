"""A picture of a report, for the README: taken by a headless Chromium, which only this needs.

Run it as `python -m neurogrid.report.picture WAREHOUSE docs/report.png`; `make picture` does so after the demo.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from neurogrid.errors import NeuroGridError, RunError, UsageError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_TIMEOUT_S = 120


def save_picture(
    html: Path, png: Path, *, width_px: int = 1200, height_px: int = 1500, most_kb: int = 300, dark: bool = False
) -> None:
    """Saves the top of the page as a PNG of few colours.

    Args:
        html: the report.
        png: where the picture goes.
        width_px, height_px: of the window; what lies below it is not in the picture.
        most_kb: the picture is made of fewer colours until it is no larger.
        dark: as on a dark screen.

    Raises:
        UsageError: there is no Chromium, or no report.
        RunError: the browser made no picture.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise UsageError(
            "a picture of the report needs Chromium",
            found=f"none of {', '.join(BROWSERS)}",
            fix="apt-get install chromium",
        )
    if not html.is_file():
        raise UsageError(f"there is no report {html}", fix="make one: neurogrid report RUN")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            *(["--blink-settings=preferredColorScheme=0", "--force-dark-mode"] if dark else []),
            f"--user-data-dir={folder}/profile",
            f"--window-size={width_px},{height_px}",
            f"--screenshot={shot}",
            html.resolve().as_uri(),
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
        if not shot.is_file():
            raise RunError("the browser made no picture", found=said.stderr.strip()[-300:])
        _shrink(shot, png, most_kb * 1000)


def _shrink(shot: Path, png: Path, most_bytes: int) -> None:
    # Pillow comes with matplotlib; a page of flat colours loses nothing that is seen.
    from PIL import Image  # noqa: PLC0415

    with Image.open(shot) as image:
        flat = image.convert("RGB")
    png.parent.mkdir(parents=True, exist_ok=True)
    flat.save(png, optimize=True)
    for colours in (256, 128, 64, 32):
        if png.stat().st_size <= most_bytes:
            return
        # Coverage keeps rare colours, such as a thin line's, which a median cut would merge with their neighbours.
        flat.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(png, optimize=True)


def newest_report(place: Path) -> Path:
    """The report itself, or that of a warehouse's newest run that has one (by the runs' names).

    Raises:
        UsageError: there is none.
    """
    if place.is_file():
        return place
    found = sorted(place.glob("runs/*/report.html"))
    if not found:
        raise UsageError(f"no report in {place}", found="no runs/*/report.html", fix="make one: neurogrid report RUN")
    return found[-1]


if __name__ == "__main__":
    try:
        save_picture(newest_report(Path(sys.argv[1])), Path(sys.argv[2]))
    except NeuroGridError as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)
