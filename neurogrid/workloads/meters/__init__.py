"""Load forecasts of smart meters: windows of readings, models, what an agent does with them, and how good they are."""
