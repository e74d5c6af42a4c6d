"""Both pages in a real browser, wide and narrow: no label lies over another or outside its picture."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from joined import joined_evaluation
from quality_tables import Made, made_warehouse
from records import evaluation_of, write_evaluation

from neurogrid.report.page import render_report
from neurogrid.report.picture import BROWSERS
from neurogrid.report.quality import render_quality

BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
# Boxes of all words of all pictures that are drawn without matplotlib, and how wide the page is.
LOOK = """<script>
const found = {wide: document.documentElement.scrollWidth, window: innerWidth, over: [], outside: [], words: 0};
for (const svg of document.querySelectorAll("svg")) {
  if (svg.querySelector("defs")) continue;
  const frame = svg.getBoundingClientRect();
  const boxes = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
  found.words += boxes.length;
  boxes.forEach(([words, a], i) => {
    if (a.left < frame.left - 2 || a.right > frame.right + 2 || a.top < frame.top - 2 || a.bottom > frame.bottom + 2)
      found.outside.push(words);
    for (const [other, b] of boxes.slice(i + 1))
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4)
        found.over.push(words + " / " + other);
  });
}
const pre = document.createElement("pre");
pre.id = "found"; pre.textContent = JSON.stringify(found);
document.body.replaceChildren(pre);
</script>"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")]


def look(html: str, folder: Path, width_px: int) -> dict[str, Any]:
    """What a browser of that width finds on the page."""
    file = folder / "page.html"
    file.write_text(html.replace("</body>", f"{LOOK}</body>"))
    # A window of Chromium is no narrower than 500 pixels.
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width_px},1500"]
    command = [str(BROWSER), *options, f"--user-data-dir={folder}/profile", "--dump-dom", file.as_uri()]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', said, flags=re.DOTALL)
    result: dict[str, Any] = json.loads(unescape(found))
    return result


def fits(found: dict[str, Any]) -> None:
    assert found["over"] == []
    assert found["outside"] == []
    assert found["words"] > 20
    assert found["wide"] <= found["window"]


@pytest.mark.parametrize("width_px", [1200, 500])
@pytest.mark.parametrize("days", [3, 40, 700])
def test_labels_of_the_data_quality_page_fit(tmp_path: Path, days: int, width_px: int) -> None:
    long_id = "a-household-with-a-very-long-name-of-its-own-0815"
    several = [Made(long_id, hours=24 * days, gaps=((5, 30),)), Made("short", starts=7, hours=24 * days)]
    several += [Made(f"{number:04}", hours=24 * days, gaps=((number, 2 * number),)) for number in range(1, 34)]
    html = render_quality(made_warehouse(tmp_path, tuple(several)), None, show_households=True)
    fits(look(html, tmp_path, width_px))


def examples(slots: int, horizon: int) -> dict[str, Any]:
    """As an evaluation keeps them; the load is large, and one forecast falls below zero."""
    wave = [1000 + 900 * (slot % 7) for slot in range(slots)]
    stretch = {"start": "2024-03-30T23:15:00+00:00", "measured_kwh": wave, "forecast_kwh": [-20, *wave[1:]]}
    stretch |= {"usual_kwh": wave[::-1]}
    shown = {"group": "held_out", "household_id": "1500", "mae_kwh": 0.1, "mase": 0.7, "stretch": stretch}
    days = [{"cluster": number, "households": 5, "kw_by_hour": [0.1 * number] * 23 + [None]} for number in range(3)]
    return {"forecasts": [shown | {"rank": rank} for rank in ("best", "median", "worst")], "days": days}


@pytest.mark.parametrize("width_px", [1200, 500])
@pytest.mark.parametrize("slots", [4, 192])
def test_labels_of_a_runs_first_pictures_fit(make_run, tmp_path: Path, slots: int, width_px: int) -> None:
    run, warehouse = make_run(rounds=1)
    write_evaluation(run, evaluation_of() | {"examples": examples(slots, 4)})
    fits(look(render_report(run, warehouse), tmp_path, width_px))


@pytest.mark.parametrize("width_px", [1200, 500])
@pytest.mark.parametrize("households", [1, 1000])
def test_labels_of_what_joining_gave_fit(make_run, tmp_path: Path, households: int, width_px: int) -> None:
    run, warehouse = make_run(rounds=1)
    write_evaluation(run, joined_evaluation(households))
    fits(look(render_report(run, warehouse), tmp_path, width_px))
