"""The chart, ready to render."""

import pytest
from rendering import Chart, copy_chart


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return copy_chart(tmp_path_factory.mktemp("chart"))
