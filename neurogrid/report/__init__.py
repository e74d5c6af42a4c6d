"""A run as a page for people: `render_report` makes the HTML.

facts.py      what the run's folder holds
training.py   forecasts.py   inputs.py     the sections: facts in, tables and charts out
charts.py     palette.py     table.py      how they look
page.py       page.html                    the page
picture.py                                 the page as a PNG for the README, by a headless browser
"""

from neurogrid.report.page import render_report

__all__ = ["render_report"]
