"""The report's colours, for light and for dark paper, and how far two colours stand apart.

Charts are drawn with a stand-in for each name; the page then replaces it by a CSS variable, so that the same picture
follows the reader's scheme. Chosen to be told apart by colour-blind readers (after Okabe and Ito) and checked by test.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shade:
    """A colour on light and on dark paper, as `#rrggbb`."""

    light: str
    dark: str


PALETTE = {
    "paper": Shade("#ffffff", "#11161d"),
    "panel": Shade("#f5f7f9", "#19212b"),
    "ink": Shade("#17212b", "#e9edf2"),
    "muted": Shade("#566270", "#a2adba"),
    "line": Shade("#d9dfe5", "#313b48"),
    "none": Shade("#eceff2", "#212a35"),
    "ours": Shade("#0b62a8", "#6cb4f2"),
    "ours-soft": Shade("#8dbde3", "#2f6a9c"),
    "attack": Shade("#bf3b0b", "#ff8d61"),
    "good": Shade("#18794e", "#5bc796"),
    "warn": Shade("#8a5a00", "#e3b341"),
    "violet": Shade("#6b4ba1", "#b8a0f0"),
    "grey": Shade("#626d79", "#8f9ba8"),
    "level-0": Shade("#d3e4f3", "#1d3347"),
    "level-1": Shade("#f3c687", "#5d4318"),
    "level-2": Shade("#e28a3f", "#a06022"),
    "level-3": Shade("#b3470f", "#e8894a"),
    "level-4": Shade("#571c04", "#ffdcc4"),
}
"""Every colour by its use; names are CSS variables on the page."""

TEXT = ("ink", "muted", "ours", "attack", "good", "warn", "violet", "grey")
"""Colours that words are written in: at least 4.5 to 1 on paper and panel (WCAG 2.2, AA)."""

MARKS = ("ours", "attack", "good", "warn", "violet", "grey")
"""Colours of lines, bars and dots: at least 3 to 1 on paper."""


LEVELS = ("level-0", "level-1", "level-2", "level-3", "level-4")
"""Steps from all well to nothing there: each stands out more from the paper than the one before, in grey too."""


def stand_in(name: str) -> str:
    """The colour that a chart is drawn with in place of `name`: never black, which SVG leaves unsaid."""
    return f"#fa{list(PALETTE).index(name) + 1:02x}af"


def themed(svg: str) -> str:
    """SVG text with every stand-in replaced by its CSS variable."""
    for name in PALETTE:
        svg = svg.replace(stand_in(name), f"var(--{name})")
    return svg


def stylesheet() -> tuple[str, str]:
    """The CSS variables for light and for dark paper."""
    light = " ".join(f"--{name}: {shade.light};" for name, shade in PALETTE.items())
    dark = " ".join(f"--{name}: {shade.dark};" for name, shade in PALETTE.items())
    return light, dark


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two `#rrggbb` colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
