"""Checkpoints: written whole or not at all, verified when read, and only the wanted ones kept."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from data.storage.run_log import read_metrics
from data.types import BadInputError
from fusion.build import build_model
from fusion.checkpoint import load_model, read_weights, resolve, validate_targets, verify
from fusion.moved_targets import moved
from tests.training.tiny import CONFIG, tiny_trainer
from tests.training.worker import evaluate
from training.runs import checkpoint

CONF = Path(__file__).resolve().parents[3] / "conf"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "tiny-run"
    tiny_trainer(run, max_steps=4, checkpoint_every=2, ema_decay=0.9, evaluate=evaluate).fit()
    return run


@pytest.fixture
def run(trained, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(trained, tmp_path / "tiny-run")


def steps(run):
    return sorted(folder.name for folder in (run / "checkpoints").iterdir())


def test_a_checkpoint_holds_everything(trained):
    folder = resolve(trained)
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "model.safetensors",
        "ema.safetensors",
        "training.pt",
        "tokenizer.json",
        "config.yaml",
        "manifest.json",
    }
    manifest = verify(folder)
    assert manifest["step"] == 4
    assert set(manifest["files"]) == names - {"manifest.json"}
    assert OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")) == CONFIG


def test_load_model_rebuilds_the_averaged_model(trained):
    loaded = load_model(trained)
    averaged, live = (read_weights(resolve(trained), averaged) for averaged in (True, False))
    assert loaded.uses_ema
    assert not loaded.model.training
    assert all(torch.equal(value, averaged[name]) for name, value in loaded.model.state_dict().items())
    assert any(not torch.equal(value, averaged[name]) for name, value in live.items())
    assert loaded.tokenizer_path == resolve(trained) / "tokenizer.json"


def test_loading_draws_nothing_from_the_global_generator(trained):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_model(trained)
    assert torch.equal(torch.rand(3), expected)


def test_a_run_its_checkpoints_and_a_step_all_resolve(trained):
    newest = trained / "checkpoints" / "step_4"
    assert resolve(trained) == resolve(trained / "checkpoints") == resolve(str(newest)) == newest


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "ema.safetensors", "tokenizer.json"])
def test_a_truncated_file_is_named(run, name):
    path = resolve(run) / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BadInputError, match=rf"{name}: truncated or changed, it has \d+ of \d+ bytes"):
        load_model(run)


def test_a_flipped_bit_is_found(run):
    path = resolve(run) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"model.safetensors: damaged, its SHA-256"):
        tiny_trainer(run, resume=run)


def test_a_missing_file_and_a_torn_manifest_are_named(run):
    (resolve(run) / "config.yaml").unlink()
    with pytest.raises(BadInputError, match=r"config.yaml: missing"):
        load_model(run)
    (resolve(run) / "manifest.json").write_text('{"step": 4, "fi')
    with pytest.raises(BadInputError, match=r"manifest.json: damaged, it is not a manifest"):
        load_model(run)


def test_a_missing_run_suggests_the_nearest(trained):
    with pytest.raises(BadInputError, match=r"tiny-rum does not exist; did you mean .*tiny-run\?"):
        resolve(trained.parent / "tiny-rum")
    with pytest.raises(BadInputError, match=r"step_5 does not exist; did you mean .*step_\d\?"):
        resolve(trained / "checkpoints" / "step_5")


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="has no checkpoint"):
        resolve(tmp_path)


def test_another_architecture_names_the_first_tensor_and_both_shapes(run):
    other = {**CONFIG, "d_model": 24}
    model = build_model(OmegaConf.create(other), 265)
    expected = r"text.weight is \[265, 16\] in the checkpoint and \[265, 24\] in the model"
    with pytest.raises(BadInputError, match=expected):
        tiny_trainer(run, resume=run, model=model, checkpoint_every=2)


def test_a_tensor_that_only_one_side_has_is_named(run):
    fusion = {**CONFIG["fusion"], "num_layers": 1}
    model = build_model(OmegaConf.create({**CONFIG, "fusion": fusion}), 265)
    with pytest.raises(
        BadInputError, match=r"fusion.blocks.1.\S+ is \[.*\] in the checkpoint and missing in the model"
    ):
        checkpoint.load_weights(model, resolve(run))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "fusion.checkpoint.torch.load",
        "fusion.checkpoint.Path",
        "fusion.nothing.Here",
        "fusion.checkpoint.load_model",
        "training.runs.checkpoint._remove_leftovers",
        "training.runs.checkpoint.save",
        ["os.system"],
        "eval",
        "",
    ],
)
def test_foreign_targets_are_never_instantiated(run, target):
    with pytest.raises(BadInputError, match=r"encoders.image._target_="):
        validate_targets({"encoders": {"image": moved({"_target_": target})}})


@pytest.mark.parametrize(
    "value",
    [
        '${oc.decode:"{_target_: os.mkdir, path: %s}"}',
        "${oc.create:{_target_:os.mkdir,path:%s}}",
        "${oc.select:nothing,{_target_:os.mkdir,path:%s}}",
        "${${name}:'{_target_: os.mkdir, path: %s}'}",
        "${oc.select:nothing,${oc.decode:'{_target_: os.mkdir, path: %s}'}}",
    ],
)
def test_an_interpolation_makes_no_target(value, tmp_path, run):
    """What it makes is nowhere to be read before it is called."""
    folder = resolve(run)
    config = OmegaConf.load(folder / "config.yaml")
    config.projector, config.name = value % (tmp_path / "made"), "oc.decode"
    _rewrite(folder, "config.yaml", OmegaConf.to_yaml(config).encode())
    with pytest.raises(BadInputError, match=r"projector=\$\{.* is not allowed"):
        load_model(run)
    assert not (tmp_path / "made").exists()


def test_interpolations_of_this_project_stay():
    allowed = ["${a.b}", "${a}/${b[0]}.x", "${oc.select:a.b,[0.5,-0.5]}", "${oc.select:a,${b}}", "${oc.env:HOME,/a:b}"]
    validate_targets({"allowed": allowed})


def test_what_the_project_itself_configures_may_be_stored():
    """All targets and interpolations of the groups that a training reads."""
    files = [path for path in CONF.glob("*/**/*.yaml") if not {"compared", "bakeoff"} & {*path.parts}]
    assert len(files) > 50
    for path in files:
        validate_targets(OmegaConf.load(path))


def test_targets_are_found_at_any_depth():
    config = {"a": [{"b": {"_target_": "torch.nn.GELU"}}]}
    with pytest.raises(BadInputError, match=r"a\[0\].b._target_=torch.nn.GELU"):
        validate_targets(config)
    validate_targets(CONFIG)


def test_packages_are_trusted_by_the_environment_alone(tmp_path, monkeypatch):
    (tmp_path / "own_layers.py").write_text("from torch.nn import GELU\n\n\nclass Layer:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        BadInputError, match=r"x._target_=own_layers.Layer .*; if own_layers is yours, set INTERFUSE_PACKA"
    ):
        validate_targets({"x": {"_target_": "own_layers.Layer"}})
    monkeypatch.setenv("INTERFUSE_PACKAGES", "other, own_layers")
    validate_targets({"x": {"_target_": "own_layers.Layer"}})
    for target in ("own_layers.GELU", "torch.nn.GELU", "own_layersx.Layer"):
        with pytest.raises(BadInputError, match="is not allowed"):
            validate_targets({"x": {"_target_": target}})


def test_a_foreign_target_in_a_stored_configuration_is_refused(run):
    """Even by someone who has put the right hash into the manifest."""
    folder = resolve(run)
    config = OmegaConf.load(folder / "config.yaml")
    config.projector = {"_target_": "os.mkdir", "path": str(run / "harm")}
    _rewrite(folder, "config.yaml", OmegaConf.to_yaml(config).encode())
    with pytest.raises(BadInputError, match=r"projector._target_=os.mkdir"):
        load_model(run)
    assert not (run / "harm").exists()


def _rewrite(folder, name, content):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = checkpoint._write(folder / name, content)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_the_newest_and_the_best_are_kept(tmp_path):
    scores = {2: 0.1, 4: 0.7, 6: 0.3, 8: 0.7, 10: 0.2, 12: 0.4}
    tiny_trainer(
        tmp_path,
        evaluate=lambda model, step: {"validation/score": scores[step]},
        evaluate_every=2,
        checkpoint_every=3,
        keep_checkpoints=2,
        best_metric="validation/score",
    ).fit()
    assert steps(tmp_path) == ["step_12", "step_4", "step_9"]
    assert resolve(tmp_path, "best").name == "step_4"
    assert resolve(tmp_path).name == "step_12"


@pytest.mark.parametrize("mode", ["min", None])
def test_the_best_may_be_the_smallest(tmp_path, mode):
    tiny_trainer(
        tmp_path,
        evaluate=lambda model, step: {"validation/loss": abs(step - 7)},
        evaluate_every=1,
        checkpoint_every=5,
        keep_checkpoints=1,
        best_metric="validation/loss",
        best_mode=mode,
    ).fit()
    assert steps(tmp_path) == ["step_12", "step_7"]
    assert resolve(tmp_path, "best").name == "step_7"


def test_an_unknown_best_metric_is_named(tmp_path):
    trainer = tiny_trainer(tmp_path, evaluate=evaluate, best_metric="validation/scor", max_steps=1)
    with pytest.raises(BadInputError, match=r"best_metric=validation/scor must be one of validation/score"):
        trainer.fit()


def test_a_full_disk_is_one_line_and_harms_nothing(tmp_path, monkeypatch):
    write = checkpoint._write

    def full(path, content):
        """Half of a file fits, from step 6 on."""
        if path.parent.name.startswith("step_6") and path.name == "training.pt":
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(BadInputError, match=r"step_6: not written, the disk is full; earlier checkpoints are intact"):
        tiny_trainer(tmp_path).fit()
    assert steps(tmp_path) == ["step_3"]
    verify(resolve(tmp_path))
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [2, 4, 6]
    monkeypatch.undo()
    assert tiny_trainer(tmp_path, resume=tmp_path).fit().step == 12


def test_what_a_killed_process_left_half_written_is_no_checkpoint(run):
    half = run / "checkpoints" / "step_9.tmp"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert resolve(run).name == "step_4"
    tiny_trainer(run, resume=run, max_steps=6, checkpoint_every=2, ema_decay=0.9).fit()
    assert steps(run) == ["step_4", "step_6"]


def test_a_checkpoint_for_evaluation_only_cannot_be_resumed(run):
    folder = resolve(run)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["training.pt"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "training.pt").unlink()
    load_model(run)
    with pytest.raises(BadInputError, match="can be evaluated but not resumed"):
        tiny_trainer(run, resume=run, checkpoint_every=2)
