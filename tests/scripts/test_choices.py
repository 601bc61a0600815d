"""null for a group, and choices that read like numbers."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_module
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from data.types import BadInputError
from scripts.arguments import ArgumentError
from scripts.checked import checked
from scripts.choices import named_choices, refuse_merged
from scripts.entry import entry_point
from scripts.error_lines import CONF, composition_line, groups


def composed(root: str, *arguments: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return checked(compose(root, named_choices(arguments, groups())), root)


@pytest.mark.parametrize("name", ["evaluation", "tracker", "mixer", "shared_space"])
def test_null_is_none_of_the_choices(name: str) -> None:
    assert composed("train", f"{name}=null")[name] is None or composed("train", f"{name}=null")[name] == {}


def test_null_stays_null_where_an_experiment_chooses_something() -> None:
    assert composed("train", "experiment=emoji_alignment", "evaluation=null").evaluation is None
    assert "image" not in composed("train", "experiment=emoji_alignment", "encoders/image=null").encoders
    assert composed("evaluate", "checkpoint=x", "evaluation/robustness=null").evaluation is None


def test_null_wins_over_what_an_experiment_adds_to_the_group() -> None:
    command = entry_point("train")(lambda config: config)
    assert command.run(["experiment=easy_vqa_quick", "evaluation=null"]).evaluation is None
    assert command.run(["experiment=easy_vqa_quick"]).evaluation.audit_samples == 500


@pytest.mark.parametrize("name", ["data", "fusion", "objective", "optimizer", "schedule", "trainer", "projector"])
def test_a_group_that_is_needed_cannot_be_null(name: str) -> None:
    with pytest.raises(BadInputError, match=f"^{name}: has no value; give {name}=VALUE$"):
        composed("train", f"{name}=null")


@pytest.mark.parametrize("choice", ["7", "1e3", "true", "-1.5", "nan"])
def test_a_choice_that_reads_like_a_value_is_a_name_that_is_not_there(choice: str) -> None:
    with pytest.raises(Exception, match=choice) as caught:
        composed("train", f"fusion={choice}")
    line = composition_line(caught.value, "train", [f"fusion={choice}"])
    assert line is not None
    assert line.startswith(f"fusion={choice}: no such choice; the nearest is ")
    assert "null" not in line


@pytest.mark.parametrize("launcher", ["joblib", "submitit_slurm"])
def test_a_launcher_that_is_not_installed_names_the_command_that_installs_it(launcher: str) -> None:
    error = MissingConfigException(f"In 'train': Could not find 'hydra/launcher/{launcher}'", "", options=["basic"])
    line = composition_line(error, "train", [f"hydra/launcher={launcher}"])
    assert line == f"hydra/launcher={launcher}: is not installed: pip install 'interfuse[sweep]'"


def test_other_arguments_stay_as_they_are() -> None:
    others = ["seed=null", "fusion=early,late", "tracker=[jsonl]", "~evaluation", "fusion.num_layers=7", "+x=1"]
    assert named_choices(others, groups()) == others
    config = composed("train", "trainer.max_seconds=null")
    assert OmegaConf.select(config, "trainer.max_seconds") is None


def test_a_list_of_choices_that_replace_one_another_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^mixer=\[attention,attention\]: must be one choice, .* fusion.mixer="):
        refuse_merged(["seed=1", "mixer=[attention,attention]"], CONF)
    with pytest.raises(ArgumentError, match=r"^\+fusion=\[early, late\]: must be one choice, .* the others$"):
        refuse_merged(["+fusion=[early, late]"], CONF)
    refuse_merged(["tracker=[trackio,wandb]", "mixer=[attention]", "x=[1,2]", "fusion.mixer=[a,b]"], CONF)


def test_mixers_of_layers_are_a_list_of_values() -> None:
    config = composed("train", "fusion.mixer=[${mixer},{_target_: fusion.mixers.attention.SelfAttention, d_model: 2}]")
    assert [node._target_.rpartition(".")[2] for node in config.fusion.mixer] == ["SelfAttention"] * 2
    with pytest.raises(BadInputError, match=r"^fusion.mixer=7: must be a mapping with a _target_, .* or a list$"):
        composed("train", "fusion.mixer=7")
    with pytest.raises(BadInputError, match=r"^fusion.mixer\[1\]=7: must be a mapping with a _target_"):
        composed("train", "fusion.mixer=[${mixer},7]")
    with pytest.raises(BadInputError, match=r"^fusion.mixer\[0\].width: is not an option of fusion.mixers.attention"):
        composed("train", "fusion.mixer=[{_target_: fusion.mixers.attention.SelfAttention, width: 2}]")
