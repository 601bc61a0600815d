import sys

import pytest
from omegaconf import OmegaConf

from data.build import (
    build_interleaver,
    build_processors,
    build_sources,
    build_stream,
    build_tokenizer,
    build_validation,
)
from data.types import BadInputError, NotInstalledError
from tests.data.memory import LAYOUTS, MODALITIES

HERE = "tests.data.memory"


def config(**overrides):
    """The `data` node inside a whole config, as the entry points have it."""
    source = {"_target_": f"{HERE}.MemorySource", "num_samples": 12}
    node = {
        "sources": {
            "one": {"weight": 3, "source": source},
            "two": {"weight": 1.0, "source": {**source, "name": "other"}},
        },
        "validation": {"one/typed": {**source, "num_samples": 5}},
        "processors": {"image": {"_target_": f"{HERE}.RawProcessor"}, "audio": {"_target_": f"{HERE}.RawProcessor"}},
        "tokenizer": {"vocab_size": 300},
        "max_tokens": 64,
        "samples_per_batch": 8,
        "on_bad_sample": "error",
        "on_long_sample": "error",
    }
    return OmegaConf.create({"data": {**node, **overrides}}).data


def sources_with(**source):
    return {"one": {"weight": 1.0, "source": {"_target_": f"{HERE}.MemorySource", "num_samples": 3, **source}}}


def stream(node, seed=0, **options):
    sources = build_sources(node)
    tokenizer = build_tokenizer(node, sources)
    maker = build_interleaver(node, tokenizer, build_processors(node), LAYOUTS, MODALITIES)
    return build_stream(node, seed, sources, maker, **options)


def test_the_config_becomes_a_stream_of_batches():
    node = config()
    sources = build_sources(node)
    assert {name: (len(source), weight) for name, (source, weight) in sources.items()} == {
        "one": (12, 3.0),
        "two": (12, 1.0),
    }
    batch = stream(node)[0]
    assert len(batch.sample_ids) == 8
    assert set(batch.media) == {"audio", "image"}
    assert stream(node)[5].token_ids.tolist() == stream(node)[5].token_ids.tolist()
    assert stream(node, seed=1)[0].token_ids.tolist() != batch.token_ids.tolist()
    assert len(stream(node, rank=1, world_size=2)[0].sample_ids) == 4
    assert stream(config(pad_to=80))[0].token_ids.shape[1] == 80
    assert {name: len(source) for name, source in build_validation(node).items()} == {"one/typed": 5}


def test_the_tokenizer_depends_on_the_sources_only():
    node = config()
    tokenizer = build_tokenizer(node, build_sources(node))
    backwards = dict(reversed(build_sources(node).items()))
    assert build_tokenizer(node, backwards).fingerprint == tokenizer.fingerprint
    assert len(tokenizer.encode("a red circle")) < len("a red circle")


def test_entries_of_null_are_left_out_and_parts_may_be_absent():
    node = config()
    node.sources.two = None
    del node.validation
    node.processors.audio = None
    assert list(build_sources(node)) == ["one"]
    assert build_validation(node) == {}
    assert list(build_processors(node)) == ["image"]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (None, "no training source is configured"),
        ({}, "no training source is configured"),
        ([1], "data.sources: must map names to entries"),
        (sources_with(num_samples=0), "data.sources.one: the source has no samples"),
        (sources_with(num_samples=-1), r"data.sources.one.source: num_samples=-1 must be at least 0"),
        (
            sources_with(nun_samples=3),
            r"data.sources.one.source.nun_samples: is not an option of .*; the nearest valid name is num_samples",
        ),
        (sources_with(num_samples="???"), r"data.sources.one.source.num_samples: must be given"),
        (sources_with(name="${data.train}"), r"data\.train"),
        (
            sources_with(_target_="data.nothing.Source"),
            r"_target_: data.nothing.Source cannot be imported: .*data.nothing",
        ),
        (sources_with(_target_=f"{HERE}.Nothing"), r"_target_: .*Nothing cannot be imported"),
        ({"one": {"weight": 1, "source": {"_target_": f"{HERE}.MemorySource"}}}, "source.num_samples: must be given"),
        ({"one": {"weight": 1, "source": {"num_samples": 1}}}, "data.sources.one.source: must have a _target_"),
        ({"one": {"source": {}}}, "data.sources.one: must have exactly `weight` and `source`, has source"),
        (
            {"one": {**sources_with()["one"], "weight": "lots"}},
            "data.sources.one.weight: 'lots' must be a number above 0",
        ),
        ({"one": {**sources_with()["one"], "weight": 0}}, r"data.sources.one: weight=0\.0 must be a number above 0"),
    ],
)
def test_sources_that_cannot_be_used_are_one_line(sources, message):
    with pytest.raises(BadInputError, match=message) as caught:
        build_sources(config(sources=sources))
    assert "\n" not in str(caught.value)


def test_a_missing_path_is_called_by_the_name_that_the_user_sets():
    node = config(train="???", sources=sources_with(name="${data.train}"))
    with pytest.raises(BadInputError, match=r"^data\.train: must be given, data\.sources\.one\.source\.name needs it$"):
        build_sources(node)


class Broken:
    def __init__(self, size: int) -> None:
        size.append(1)


def test_a_bug_in_a_constructor_keeps_its_traceback():
    source = {"_target_": f"{__name__}.Broken", "size": 3}
    with pytest.raises(Exception, match="AttributeError") as caught:
        build_sources(config(sources={"one": {"weight": 1.0, "source": source}}))
    assert not isinstance(caught.value, BadInputError)


def test_a_value_of_another_type_is_refused_before_the_constructor_sees_it():
    with pytest.raises(BadInputError) as caught:
        build_sources(config(sources=sources_with(num_samples="three")))
    assert str(caught.value) == "data.sources.one.source.num_samples=three: must be a whole number"
    assert len(build_sources(config(sources=sources_with(num_samples=3.0)))["one"][0]) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"tokenizer": {"vocab_size": 100}}, r"^data\.tokenizer: vocab_size=100 must be at least 265"),
        ({"max_tokens": 1}, r"^data: max_tokens=1 must be at least 2"),
        ({"max_tokens": None}, r"^data\.max_tokens: must be given"),
        ({"on_long_sample": "cut"}, r"^data: on_long_sample='cut' must be one of error, truncate"),
        ({"on_bad_sample": "ignore"}, r"^data: on_bad_sample='ignore' must be one of error, skip"),
        ({"samples_per_batch": 0}, r"^data: samples_per_batch=0 must be at least"),
        ({"pad_to": 32}, r"^data: pad_to=32 must be at least max_tokens=64"),
    ],
)
def test_values_that_a_constructor_refuses_name_their_place(overrides, message):
    with pytest.raises(BadInputError, match=message):
        stream(config(**overrides))


def test_validation_without_a_file_is_left_out():
    manifest = {"_target_": "data.sources.manifest.ManifestSource", "path": None}
    assert build_validation(config(validation={"manifest": manifest})) == {}


def test_an_empty_validation_source_is_named():
    node = config(validation={"typed": {"_target_": f"{HERE}.MemorySource", "num_samples": 0}})
    with pytest.raises(BadInputError, match=r"^data\.validation\.typed: the source has no samples"):
        build_validation(node)


def test_an_optional_source_that_is_not_installed_is_left_out_and_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "piper", None)
    entry = {
        "_target_": "data.sources.easy_vqa.EasyVqaQuestions",
        "split": "test",
        "questions": "spoken",
        "family": "piper",
    }
    with pytest.raises(NotInstalledError, match=r"^data\.validation\.spoken: speech of Piper needs its packages"):
        build_validation(config(validation={"spoken": entry}))
    typed = {"_target_": f"{HERE}.MemorySource", "num_samples": 3, "optional": True}
    both = config(validation={"spoken": entry | {"optional": True}, "typed": typed})
    assert list(build_validation(both)) == ["typed"]
    assert "left out: data.validation.spoken: speech of Piper needs" in capsys.readouterr().err
    with pytest.raises(BadInputError, match=r"^data\.validation\.typed\.optional: 'maybe' must be true or false"):
        build_validation(config(validation={"typed": typed | {"optional": "maybe"}}))
