"""A run, and a warehouse's readings, as pages for people: `page.render_report` and `quality.render_quality`.

facts.py      what the run's folder holds, and evaluated.py, what the evaluation in it holds
glance.py     joining.py     forecasts.py  the run's sections: facts in, tables and charts out
surges.py     training.py    inputs.py
page.py       page.html                    the run's page
quality_facts.py   quality_sections.py     what the warehouse holds, and its sections
quality.py    quality.html                 the data-quality page
table.py      palette.py     charts.py     how they look; charts.py draws with matplotlib,
drawing.py    time_charts.py               these without it, as household_charts.py
template.py   base.html                    what the pages share
picture.py                                 a page as a PNG for the README, by a headless browser
"""
