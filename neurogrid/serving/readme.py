"""README.md of an exported folder, in plain words: for somebody who has the folder and nothing else."""

from collections.abc import Sequence

from neurogrid.serving.folder import ABOUT, ONNX, WEIGHTS, About
from neurogrid.workloads.meters.models.quantiles import LEAST_STEP
from neurogrid.workloads.meters.registry import MEDIAN_LEVEL


def readme(about: About) -> str:
    """The page."""
    windows, settings = about.windows, about.cleaning.settings
    base, surge_base = ("the household's mean", "0") if not windows.residual else _RESIDUAL
    return _PAGE.format(
        version=about.neurogrid_version,
        run=about.run,
        head=about.last_record_sha256,
        minutes=about.cadence_minutes,
        history=windows.history_slots,
        horizon=windows.horizon_slots,
        outputs=windows.horizon_slots + 1,
        features=len(about.features),
        known=len(about.known),
        feature_list=_list(about.features),
        known_list=_list(about.known),
        forecast=(_QUANTILES if windows.quantiles else _POINT).format(
            horizon=windows.horizon_slots,
            base=base,
            levels=", ".join(f"{level:g}" for level in windows.quantiles),
            count=len(windows.quantiles),
            middle=windows.quantiles.index(MEDIAN_LEVEL) if windows.quantiles else 0,
            least=f"{LEAST_STEP:g}",
        ),
        surge_base=surge_base,
        percentile=f"{settings.surge_percentile:g}",
        share=f"{settings.train_share:.0%}",
        trailing=settings.trailing_slots,
        onnx=ONNX,
        weights=WEIGHTS,
        about=ABOUT,
    )


def _list(names: Sequence[str]) -> str:
    return "\n".join(f"{number}. `{name}`: {_words(name)}" for number, name in enumerate(names, 1))


def _words(name: str) -> str:
    if name.startswith("quantile_"):
        return f"the {name.split('_')[1]} quantile over the 28 days before, between two values in proportion, scaled"
    return _WORDS[name]


_RESIDUAL = ("the 28-day median of the slot", "the log-odds of the slot's usual share of surges (see below)")
_POINT = (
    "- `forecast`, shape (B, {horizon}). The energy of a slot in kWh is `base + std * forecast`. Here `base` is {base}."
)
_QUANTILES = """- `forecast`, shape (B, {horizon}, {count}): raw numbers for the quantiles {levels} of each slot.
  The first is the median: the forecast of the slot's energy in kWh is `base + std * forecast[0]`. Here `base` is
  {base}. The others, one after another, belong to the steps between neighbouring quantiles, from the lowest to
  the highest. With `u` the step between the same quantiles of the 28 days before, scaled, and `s = u + {least}`, a step
  is `softplus(raw + s + log(1 - exp(-s)))`, where `softplus(x) = log(1 + exp(x))`. Going out from the median, which
  is number {middle} counted from 0, the steps add up. Then quantiles become kWh as the median does; none is below 0."""
_PAGE = """# A load forecast model

NeuroGrid {version} exported this folder from run `{run}`.

The model looks at the last {history} slots of {minutes} minutes of one household's load, and forecasts the next
{horizon}. It also says how likely each of them is a surge: a load above the household's own {percentile}th percentile.

| file | what it is |
|---|---|
| `{onnx}` | the model for any runtime that reads ONNX; any number of windows at once |
| `{weights}` | the same weights by name; any framework reads them |
| `{about}` | settings, time zone, names of the inputs, and SHA-256 of the other files |

Weights can give something away of the readings that they were made of. Give them only to those who may know that.

## In Python

```python
import neurogrid

model = neurogrid.load("this folder")
model.forecast(readings)  # a pandas Series of kWh a slot, with the start of each slot in UTC as index
model.score(readings)
```

This cuts and scales everything that is described below.

## In another runtime

`{onnx}` has two inputs, 32-bit floats, for B windows.

`history`, shape (B, {history}, {features}): the slots before the forecast, oldest first. Of each slot:

{feature_list}

`known`, shape (B, {horizon}, {known}): the slots to forecast, first to last. Of each slot:

{known_list}

It has two outputs:

{forecast}
- `surge_logits`, shape (B, {outputs}): of each slot, then of any of them. The probability of a surge is
  `1 / (1 + exp(-(surge_base + surge_logits)))`. Here `surge_base` is {surge_base}.

`mean` and `std` are mean and standard deviation of the household's measured load, in kWh a slot, in the first
{share} of its own time. Loads are scaled: `(kWh - mean) / std`. The surge threshold is the {percentile}th percentile of
the same load.

Profiles are made of the slots at the same time (by UTC) of the 28 or 7 days before, of measured values only. The usual
share of surges is the share of these 28 days on which the slot was above the threshold. Its log-odds are
`log((share + 1/56) / (1 - share + 1/56))`. For any slot, `share` is one minus the product of `1 - share` over the
slots.

A gap in the history is filled with the mean of the measured values among the {trailing} slots before it, or else with
the mean of all earlier days at that local time, or else with 0.

## Where it comes from

The last record of the run's ledger has the hash `{head}`.
Whoever has the run checks the chain of records up to it with `neurogrid audit {run}`.
"""
_WORDS = {
    "kWh_received_Total": "the load, scaled",
    "hour_sin": "sine of the local time of day (a day is a full circle)",
    "hour_cos": "cosine of it",
    "dow_sin": "sine of the local day of the week (a week is a full circle, Monday is 0)",
    "dow_cos": "cosine of it",
    "is_weekend": "1 on Saturday and Sunday, else 0",
    "Temperature_avg_hourly": "temperature of the last full hour, scaled like the load by its own mean and deviation; "
    "0 without weather",
    "Humidity_avg_hourly": "humidity, likewise",
    "Sunshine_duration_hourly": "duration of sunshine, likewise",
    "weather_missing": "1 where the weather was not measured, else 0",
    "load_missing": "1 where the load was not measured, so that a filled value stands in, else 0",
    "load_days_before": "the scaled load at the same time a day before; of slots further ahead, as many whole days as "
    "reach before the forecast",
    "load_weeks_before": "the scaled load at the same time a week before, likewise",
    "median_28_days": "the slot's median over the 28 days before, scaled like the load",
    "mean_28_days": "the mean over them, scaled",
    "median_7_days": "the median over the 7 days before, scaled",
    "surge_share_28_days": "the share of the 28 days on which the slot was a surge",
    "surge_threshold": "the household's surge threshold, scaled",
}
