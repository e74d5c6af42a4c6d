"""Codecs that cannot work with the rest of the config are refused, and every key of theirs reaches the codec."""

import pytest

from neurogrid.config import load
from neurogrid.errors import ConfigError
from neurogrid.fl.codecs import Quantised, RandK, Sign, TopK
from neurogrid.fl.spec import Span, Spec
from neurogrid.pipeline import settings
from neurogrid.pipeline.uplinks import uplink
from neurogrid.storage import place

MEAN = "aggregation.rule=mean"
SPEC = Spec((Span("a", (3,), 0, 3),))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            ["uplink.codec=topk", "aggregation.rule=trimmed_mean"],
            "aggregation.rule trimmed_mean judges each weight by itself",
        ),
        (["uplink.codec=randk", "aggregation.rule=median"], "aggregation.rule median judges each weight by itself"),
        (["uplink.codec=q8", "uplink.remember=0.5"], "q8 leaves nothing out"),
        ([MEAN, "uplink.codec=topk", "uplink.share=0"], "uplink.share"),
        ([MEAN, "uplink.codec=topk", "uplink.remember=1.1"], "uplink.remember"),
        ([MEAN, "uplink.codec=zip"], "uplink.codec"),
    ],
)
def test_what_cannot_work_is_refused(given: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load("", given)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("given", "codec"),
    [
        ([], None),
        (["uplink.codec=q8"], Quantised()),
        (["uplink.codec=sign"], Sign()),
        (["uplink.codec=topk", "aggregation.rule=multi_krum", "uplink.share=0.2"], TopK(0.2)),
        (["uplink.codec=topk", "uplink.share=1"], TopK(1.0)),
        ([MEAN, "uplink.codec=randk", "uplink.values=f32"], RandK(0.1, "f32")),
    ],
)
def test_a_codec_is_as_the_config_says(given: list[str], codec: object) -> None:
    assert settings.codec(load("", given)) == codec


def test_agents_keep_a_memory_only_where_they_are_to_remember(tmp_path) -> None:
    run = place(str(tmp_path / "r1"))
    given = [MEAN, "uplink.codec=topk"]
    plain, remembering, other = (
        uplink(load("", [*given, f"uplink.remember={share}"]), run, SPEC) for share in (0, 0.5, 1)
    )
    assert plain is not None
    assert plain.memory is None
    assert remembering is not None
    assert remembering.remember == 0.5
    assert other is not None
    assert other.memory != remembering.memory
