"""Every option of every command has a type, and a value of another type is refused before anything is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

import conf
from data.configuration.signature import Signature
from data.types import BadInputError
from evaluation.settings import has_tasks
from scripts.checked import checked, node_schema
from scripts.options import ROOTS, Options, TrainOptions

CONF = Path(str(conf.__file__)).parent
NEEDED = {"checkpoint": "RUN", "output": "new/folder", "runs": "runs"}
NEEDED |= {"data.train": "train.jsonl", "data.evaluation": "test.jsonl"}


def composed(root: str, overrides: Sequence[str] = ()) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(root, list(overrides))


def is_missing(config: DictConfig, name: str) -> bool:
    """Whether an option must be given; one that does not exist need not."""
    parent, _, key = name.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and OmegaConf.is_missing(node, key)


def files(group: str) -> list[Path]:
    return sorted((CONF / group).rglob("*.yaml"))


def targets() -> list[str]:
    """Every `_target_` in `conf/`."""

    def inside(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from ([node["_target_"]] if "_target_" in node else [])
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
            yield from inside(child)

    return sorted({target for path in files(".") for target in inside(OmegaConf.to_container(OmegaConf.load(path)))})


def untyped(content: Any, schema: Any, place: str = "") -> Iterator[str]:
    """The options in a configuration of which the schema does not know."""
    for name, value in content.items():
        here = f"{place}.{name}" if place else name
        if name in schema.model_fields:
            inner = node_schema(schema.model_fields[name].annotation)
            if isinstance(value, dict) and inner is not None:
                yield from untyped(value, inner, here)
        elif "__pydantic_extra__" not in schema.__annotations__:
            yield here


def test_every_root_has_a_schema() -> None:
    assert set(ROOTS) == {path.stem for path in CONF.glob("*.yaml")} - {"hydra_defaults"}


@pytest.mark.parametrize("root", ROOTS)
def test_every_option_of_a_root_has_a_type(root: str) -> None:
    choices = {path.stem for path in (CONF / "data").glob("*.yaml")} if issubclass(ROOTS[root], TrainOptions) else {""}
    for choice in choices:
        content = OmegaConf.to_container(composed(root, [f"data={choice}"] if choice else []))
        assert list(untyped(content, ROOTS[root])) == []


@pytest.mark.parametrize("target", targets())
def test_every_option_of_a_constructor_has_a_type(target: str) -> None:
    signature = Signature.of(target, "_target_")
    assert all(annotation is not Any for annotation in signature.options.values()), signature.options
    assert signature.rest is None


@pytest.mark.parametrize("root", ROOTS)
def test_what_a_root_is_composed_of_is_accepted_as_it_is(root: str) -> None:
    given = [f"{name}={value}" for name, value in NEEDED.items() if is_missing(composed(root), name)]
    config = composed(root, given)
    found = checked(config, root)
    assert {name: found[name] for name in config} == {name: config[name] for name in config}


@pytest.mark.parametrize("path", files("experiment"), ids=lambda path: path.stem)
def test_every_experiment_is_accepted_as_it_is(path: Path) -> None:
    name = path.relative_to(CONF / "experiment").with_suffix("").as_posix()
    root = "compare" if "bakeoff" in name else "train"
    config = composed(root, [f"experiment={name}"])
    assert OmegaConf.to_container(checked(config, root)) == OmegaConf.to_container(config)


@pytest.mark.parametrize("path", [path for path in files(".") if path.parent != CONF], ids=str)
def test_every_choice_of_every_group_has_values_of_the_right_types(path: Path) -> None:
    """As it stands in its file: what refers to other groups is checked with them."""
    node = OmegaConf.load(path)
    node.pop("defaults", None)
    checked(OmegaConf.create({"part": node}), "no root")


def refusal(root: str, *overrides: str) -> str:
    with pytest.raises(BadInputError) as caught:
        checked(composed(root, overrides), root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


WRONG = {
    "seed=-1": "seed=-1: must be 0 or more",
    "seed=1.5": "seed=1.5: must be a whole number",
    "seed=abc": "seed=abc: must be a whole number",
    "seed=4294967296": "seed=4294967296: must be below 4294967296",
    "d_model=0": "d_model=0: must be 1 or more",
    "compute_threads=0": "compute_threads=0: must be 1 or more, or null",
    "compute_threads=1e9": "compute_threads=1000000000.0: must be at most 1024, or null",
    "data.num_workers=-1": "data.num_workers=-1: must be 0 or more, or null",
    "data.samples_per_batch=null": "data.samples_per_batch=null: must be a whole number",
    "data.modality_dropout=0.1": "data.modality_dropout=0.1: must be a mapping, or null",
    "data.modality_dropout={image: 2}": "data.modality_dropout.image=2: must be at most 1",
    "data.sources=7": "data.sources=7: must be a mapping",
    "data.sources.easy_vqa=7": "data.sources.easy_vqa=7: must be a mapping",
    "data.sources.easy_vqa.weight=0": "data.sources.easy_vqa.weight=0: must be above 0",
    "data.processors=abc": "data.processors=abc: must be a mapping, or null",
    "data.processors.image.mean=0.5": "data.processors.image.mean=0.5: must be a list",
    "data.on_bad_sample=ignore": "data.on_bad_sample=ignore: must be 'error' or 'skip'",
    "data.tokenizer=384": "data.tokenizer=384: must be a mapping",
    "encoders.image=abc": "encoders.image=abc: must be a mapping with a _target_, the class to make",
    "encoders.image.strides=[2,a]": "encoders.image.strides[1]=a: must be a whole number",
    "~objective": "objective: has no value; give objective=VALUE",
    "~optimizer": "optimizer: has no value; give optimizer=VALUE",
    "optimizer.lr=abc": "optimizer.lr=abc: must be a number",
    "optimizer.lr=null": "optimizer.lr=null: must be a number",
    "optimizer.lr=nan": "optimizer.lr=nan: must be a finite number",
    "optimizer.nesterov=7": "optimizer.nesterov=7: must be true or false",
    "trainer.max_steps=true": "trainer.max_steps=true: must be a whole number",
    "trainer.max_seconds=10s": "trainer.max_seconds=10s: must be a number, or null",
    "trainer.max_seconds=inf": "trainer.max_seconds=inf: must be a finite number, or null",
    "trainer.device=gpu": "trainer.device=gpu: must be auto or cpu, which this machine has",
    "trainer.device=meta": "trainer.device=meta: must be auto or cpu, which this machine has",
    "tracker.trackio.project=null": "tracker.trackio.project=null: must be text",
    "evaluation.audit=7": "evaluation.audit=7: must be true or false",
    "+evaluation.bach_size=7": "evaluation.bach_size: is not an option of evaluation.settings.Settings; "
    "the nearest valid name is batch_size",
    "run=a/b": "run=a/b: must be the name of one folder, without a slash, or null",
    "run=..": "run=..: must be the name of one folder, without a slash, or null",
    "name=''": "name='': must be the name of one folder, without a slash",
    "name=null": "name=null: must be text",
    f"run='{'é' * 128}'": f"run={'é' * 57}...: must be the name of a folder, with at most 255 bytes, or null",
    f"runs={CONF / 'train.yaml'}": "must be a folder; there is a file in its place",
    f"runs={CONF / 'train.yaml'}/below": "must be a folder; there is a file in its place",
    "target.flops=0": "target.flops=0: must be above 0, or null",
    "missing_token=lerned": "missing_token=lerned: must be 'none' or 'learned'",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_value_is_one_line_that_names_option_value_and_remedy(
    override: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.device._types", lambda: ["cpu"])
    assert WRONG[override] in refusal("train", override)


def test_other_roots_are_held_to_theirs() -> None:
    assert refusal("generate", "checkpoint=x", "temperature=abc") == "temperature=abc: must be a number"
    assert refusal("generate", "checkpoint=x", "temperature=-1") == "temperature=-1: must be 0 or more"
    assert refusal("generate", "checkpoint=x", "max_new_tokens=0") == "max_new_tokens=0: must be 1 or more"
    assert refusal("evaluate") == "checkpoint: has no value; give checkpoint=VALUE"
    assert refusal("evaluate", "checkpoint=x", "which=last") == "which=last: must be 'newest' or 'best'"
    assert refusal("benchmark_cache", "steps=0") == "steps=0: must be 1 or more"
    assert refusal("dashboard", "port=100000") == "port=100000: must be at most 65535"
    assert refusal("prepare_data", "output=x", "max_samples=0") == "max_samples=0: must be 1 or more, or null"
    assert "bakeoff.parallel=two: must be a whole" in refusal(
        "compare", "experiment=bakeoff/easy_vqa", "bakeoff.parallel=two"
    )
    assert "bakeoff.reference=null: must be text" in refusal(
        "compare", "experiment=bakeoff/easy_vqa", "bakeoff.reference=null"
    )


def test_values_become_what_they_are_meant_to_be() -> None:
    config = checked(
        composed("train", ["trainer.max_steps=1e1", "run=123", "name=7", "data=manifest", "data.train=7"]), "train"
    )
    assert (config.trainer.max_steps, type(config.trainer.max_steps)) == (10, int)
    assert (config.run, config.name) == ("123", "7")
    assert config.data.sources.manifest.source.path == "7"


def test_what_is_switched_off_is_null() -> None:
    config = checked(composed("train", ["~evaluation", "tracker=[]", "target=null", "~shared_space"]), "train")
    assert (config.evaluation, config.tracker, config.target, config.shared_space) == (None, {}, None, None)


def test_an_evaluation_may_ask_nothing() -> None:
    """As in the trainings that tune a bake-off."""
    for data in ("easy_vqa", "emoji", "manifest"):
        config = checked(composed("train", [f"data={data}", "evaluation.tasks=null"]), "train")
        assert not has_tasks(config.evaluation)


@pytest.mark.parametrize("chosen", ["retrieval", "retrieval_manifest"])
def test_the_words_of_a_retrieval_may_be_those_of_the_checkpoint(chosen: str) -> None:
    """`data.words` is null until the checkpoint is known."""
    options = ["checkpoint=RUN", f"evaluation={chosen}", "data.evaluation=a.jsonl"]
    assert checked(composed("evaluate", options), "evaluate").data.words is None


def test_a_manifest_that_is_not_given_is_left_to_who_reads_it() -> None:
    config = checked(composed("train", ["data=manifest"]), "train")
    assert OmegaConf.is_missing(config.data, "train")
    assert refusal("train", "data=manifest", "data.train=null") == "data.train=null: must be text"


def test_plain_annotations_of_python_would_take_true_for_a_number() -> None:
    """So the models have types of `data.configuration.schema`, which do not."""
    for schema in Options.__subclasses__():
        for name, field in schema.model_fields.items():
            plain = field.annotation in (int, float, str) and not field.metadata
            assert not plain, f"{schema.__name__}.{name}"
