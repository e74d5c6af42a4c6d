"""A page's template filled in: base.html is the style and the parts that all pages share."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from neurogrid.report.palette import stylesheet


def fill(template: str, **values: Any) -> str:
    """The template of that name with its values; words are escaped, and a value that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("neurogrid.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    light, dark = stylesheet()
    return environment.get_template(template).render(light=light, dark=dark, **values)
