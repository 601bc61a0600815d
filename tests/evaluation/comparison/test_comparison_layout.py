"""Comparisons that can be read: any number of runs, tasks and metrics, on a terminal, in a pipe and as a picture."""

import copy
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from rich.console import Console

from data.display.drawing import save
from data.types import BadInputError
from evaluation.comparison.compare import Group, group_runs, load_runs, to_json, warnings
from evaluation.comparison.comparison_figure import draw_comparison, other_score
from evaluation.comparison.comparison_report import replaced, to_markdown, write_comparison
from evaluation.comparison.comparison_table import print_comparison, task_block
from evaluation.comparison.run_labels import differences, run_labels

METRICS = ("accuracy", "chrf", "wer", "loss", "perplexity", "choice")
RECALLS = ("recall@1", "recall@5", "recall@10", "median_rank")
METHODS = (
    *("early.EarlyFusion", "late.LateFusion", "mid.MidFusion", "bottleneck.BottleneckFusion", "concat.ConcatFusion"),
    *("cross_attention.CrossAttentionFusion", "mixture_of_transformers.MixtureOfTransformers"),
)
KINDS = tuple(itertools.islice(itertools.product(METHODS, (0.003, 0.01, 0.02), (64, 96)), 30))


def score(value: float, n: int = 9673) -> dict[str, Any]:
    return {"value": value, "low": value - 0.0123, "high": value + 0.0098, "n": n}


def put(folder: Path, report: dict[str, Any], config: dict[str, Any], tasks: dict[str, Any]) -> None:
    found = copy.deepcopy({**report, "tasks": tasks})
    found["provenance"] |= {"experiment_hash": json.dumps({**config, "seed": 0}), "seed": config["seed"]}
    found["provenance"]["run"] = f"{config['name']}/{folder.name}"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(found), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def many(folder: Path, report: dict[str, Any], runs: int, tasks: int, seeds: int = 1) -> list[Group]:
    """Runs of one name; tasks of every kind in turn, with as many metrics as there can be."""
    for number, (method, rate, width) in enumerate(KINDS[:runs]):
        made: dict[str, Any] = {}
        for place in range(tasks):
            names = (METRICS[:1], METRICS[1:], RECALLS)[place % 3]
            kind = ("easy_vqa/spoken_piper", "captions", "emoji/audio_to_image")[place % 3]
            made[f"{kind}{place}"] = {name: score(0.5 + number / 100 + at / 1000) for at, name in enumerate(names)}
        for seed in range(seeds):
            config = {
                "name": "easy_vqa",
                "seed": seed,
                "d_model": width,
                "fusion": {"_target_": f"fusion.{method}", "num_layers": 4, f"only_{number % 7}": 1},
                "optimizer": {"_target_": "training.optimizers.groups.adamw", "lr": rate},
            }
            put(folder / f"run{number:02}_{seed}", report, config, made)
    return group_runs(load_runs([folder / "*"]))


def shown(groups: list[Group], width: int, tmp_path: Path) -> str:
    console = Console(width=width, record=True, file=(tmp_path / "out.txt").open("w", encoding="utf-8"))
    print_comparison(groups, console)
    return console.export_text()


@pytest.mark.parametrize(("runs", "tasks", "seeds"), [(1, 1, 1), (2, 12, 1), (30, 3, 1), (5, 3, 3)])
@pytest.mark.parametrize("width", [80, 200])
def test_every_run_and_every_score_can_be_read(
    runs: int, tasks: int, seeds: int, width: int, report: dict[str, Any], tmp_path: Path
) -> None:
    groups = many(tmp_path / "runs", report, runs, tasks, seeds)
    text = shown(groups, width, tmp_path)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    words = " ".join(text.split())
    for group in groups:
        first = group.label.split(",")[0]
        assert words.count(first) >= tasks + 1, "each block names each run"
    for task in groups[0].runs[0].report["tasks"]:
        assert f"{task}, n=9,673" in text
    best = 100 * (0.5 + (runs - 1) / 100)
    assert f"{best:.1f}" in text
    pieces = [line.split("  ")[0].strip() for line in lines if re.match(r"(d_model|fusion|optimizer)", line)]
    assert all(len(piece) >= 10 for piece in pieces), "no name is broken into letters"
    for head in ("accuracy", "chrF", "perplexity", "recall@10")[: 1 if tasks == 1 else 4]:
        assert head in text
    assert "MFLOP per" in text


def test_a_pipe_gets_whole_lines(
    report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    groups = many(tmp_path / "runs", report, 6, 3)
    print_comparison(groups)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for head in ("accuracy", "chrF", "choice", "recall@10"):
        assert head in text


def test_a_wide_terminal_shows_the_intervals_of_all_metrics(report: dict[str, Any], tmp_path: Path) -> None:
    groups = many(tmp_path / "runs", report, 2, 2)
    assert "0.512 [0.500, 0.522]" in shown(groups, 200, tmp_path), "a loss is no share"
    narrow = shown(groups, 80, tmp_path)
    assert "51.0 [49.8, 52.0]" in narrow
    assert "0.512" in narrow
    assert "All intervals and all metrics stand in the file." in narrow


@pytest.mark.parametrize(("runs", "tasks"), [(1, 1), (30, 12)])
def test_the_figure_is_bounded_and_names_every_run(
    runs: int, tasks: int, report: dict[str, Any], tmp_path: Path
) -> None:
    groups = many(tmp_path / "runs", report, runs, tasks)
    figure = draw_comparison(groups)
    names = [text.get_text().replace("\n", " ") for text in figure.axes[0].get_yticklabels()]
    assert names == [group.label for group in groups]
    with Image.open(save(figure, tmp_path / "compare.png")) as picture:
        assert max(picture.size) <= 6001
        assert picture.width <= 2500
        assert picture.height >= 30 * runs * (1 if tasks == 1 else 3)
    assert len(figure.axes) == tasks + 3


def test_files_hold_every_metric(report: dict[str, Any], tmp_path: Path) -> None:
    groups = many(tmp_path / "runs", report, 3, 3)
    write_comparison(groups, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))
    assert set(content["groups"][0]["metrics"]["captions1"]) == set(METRICS[1:])
    assert content["groups"][1]["tasks"]["captions1"]["mean"] == pytest.approx(0.51)
    assert content["groups"][0]["rows"]["captions1"] == [9673]
    assert content["groups"][2]["differs"]["optimizer.lr"] == "0.01"
    page = (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")
    assert "| experiment | runs | chrF | word error rate (lower is better) | loss (lower is better) |" in page
    assert "50.0 [48.8, 51.0] | 50.1 [48.9, 51.1] | 0.502 [0.490, 0.512] |" in page
    assert "## Options that differ" in page


def test_labels_say_what_differs_and_only_that(report: dict[str, Any], tmp_path: Path) -> None:
    groups = many(tmp_path / "runs", report, 30, 1)
    labels = [group.label for group in groups]
    assert len(set(labels)) == 30
    assert labels[0] == "d_model=64, fusion=early, optimizer.lr=0.003"
    assert labels[-1] == "d_model=96, fusion=concat, optimizer.lr=0.02"
    assert not any("only_" in text for text in labels), "follows from the choice of the fusion"


def test_a_choice_is_named_and_what_follows_from_it_is_not() -> None:
    configs = [
        {"fusion": {"_target_": "fusion.methods.late.LateFusion", "num_layers": 4}, "optimizer": {"lr": 0.1}},
        {
            "fusion": {"_target_": "fusion.methods.mid.MidFusion", "num_layers": 2, "fusion_layer": 1},
            "optimizer": {"lr": 0.1},
        },
        {
            "fusion": {"_target_": "fusion.methods.mid.MidFusion", "num_layers": 3, "fusion_layer": 1},
            "optimizer": {"lr": 0.1},
        },
    ]
    assert differences(configs[:2]) == {"fusion": ["late", "mid"]}
    assert differences(configs) == {"fusion": ["late", "mid", "mid"], "fusion.num_layers": ["4", "2", "3"]}
    projectors = [{"projector": {"_target_": f"encoders.projector.{name}Projector"}} for name in ("Mlp", "Linear")]
    assert differences(projectors) == {"projector": ["mlp", "linear"]}


def test_labels_are_never_equal() -> None:
    same: list[dict[str, Any]] = [{}, {}, {}, {}]
    fallbacks = [["step=1", f"seed={place % 2}", "run", f"folder{place}"] for place in range(4)]
    assert run_labels(["x"] * 4, same, fallbacks) == [
        "seed=0, folder0",
        "seed=1, folder1",
        "seed=0, folder2",
        "seed=1, folder3",
    ]
    long = [{"data": {"train": f"/a/very/long/path/{'x' * 60}/{place}/train.jsonl"}} for place in range(2)]
    found = run_labels(["x", "x"], long, fallbacks[:2])
    assert len(set(found)) == 2
    assert run_labels(["x", "y"], [{"a": 1}, {"a": 2}], fallbacks[:2]) == ["x", "y"]
    assert run_labels(["x"], [{}], fallbacks[:1]) == ["x"]


def test_runs_without_a_configuration_differ_by_seed(report: dict[str, Any], tmp_path: Path) -> None:
    for seed in range(2):
        put(tmp_path / f"s{seed}", report, {"name": "x", "seed": seed}, report["tasks"])
        content = json.loads((tmp_path / f"s{seed}" / "report.json").read_text(encoding="utf-8"))
        del content["provenance"]["experiment_hash"]
        (tmp_path / f"s{seed}" / "report.json").write_text(json.dumps(content), encoding="utf-8")
    assert [group.label for group in group_runs(load_runs([tmp_path / "*"]))] == ["seed=0", "seed=1"]


def test_other_numbers_of_rows_and_other_metrics_are_flagged(report: dict[str, Any], tmp_path: Path) -> None:
    config = {"name": "x", "seed": 0}
    put(tmp_path / "a", report, {**config, "d": 1}, {"t": {"chrf": score(0.5, 100), "loss": score(2.0, 100)}})
    put(tmp_path / "b", report, {**config, "d": 2}, {"t": {"chrf": score(0.5, 50)}})
    tasks = {"t": {"accuracy": score(0.5, 100)}, "only": {"accuracy": score(0.1)}}
    put(tmp_path / "c", report, {**config, "d": 3}, tasks)
    groups = group_runs(load_runs([tmp_path / name for name in "abc"]))
    found = warnings(groups)
    assert "t: the runs were scored on different numbers of rows (50, 100), so not on the same ones" in found
    assert "t: the runs have different main metrics (chrF, accuracy); each is shown where it was measured" in found
    text = shown(groups, 80, tmp_path)
    assert "warning: t: the runs were scored on different numbers" in " ".join(text.split())
    assert "-: not every run of the row was asked this" in text
    rows = [line.split() for line in text.splitlines() if line.startswith("d=3")]
    assert rows[0] == ["d=3", "-", "-", "50.0", "100"] or rows[0][:3] == ["d=3", "-", "-"]
    assert "| d=3 | 1 | - | - | 50.0 [48.8, 51.0] |" in to_markdown(groups)
    assert to_json(groups)["groups"][0]["tasks"]["only"] is None


def test_names_of_data_are_shown_as_they_are(report: dict[str, Any], tmp_path: Path) -> None:
    task = "[red]a|b[/red] $x^$ :smile:"
    put(tmp_path / "a", report, {"name": "[bold]x", "seed": 0, "v": "[red]"}, {task: {"accuracy": score(0.5)}})
    put(tmp_path / "b", report, {"name": "[bold]x", "seed": 0, "v": "$1$"}, {task: {"accuracy": score(0.5)}})
    groups = group_runs(load_runs([tmp_path / "a", tmp_path / "b"]))
    text = shown(groups, 80, tmp_path)
    assert task in text
    assert "v=[red]" in text
    write_comparison(groups, tmp_path / "out")
    assert (tmp_path / "out" / "compare.png").is_file()


def test_an_output_is_not_written_over_in_silence(report: dict[str, Any], tmp_path: Path) -> None:
    one, two = (many(tmp_path / f"runs{count}", report, count, 1) for count in (1, 2))
    folder = tmp_path / "out"
    assert replaced(one, folder, is_default=False) is None
    write_comparison(one, folder)
    assert "same runs" in str(replaced(one, folder, is_default=False))
    assert "comparison of 1 runs" in str(replaced(two, folder, is_default=True))
    with pytest.raises(BadInputError, match=r"output=.*out: holds a comparison of other runs"):
        replaced(two, folder, is_default=False)
    with pytest.raises(BadInputError, match="is a file; name a folder"):
        replaced(one, folder / "compare.json", is_default=False)


def test_a_run_by_another_metric_keeps_its_number_of_rows(report: dict[str, Any], tmp_path: Path) -> None:
    put(tmp_path / "a", report, {"name": "x", "seed": 0, "d": 1}, {"t": {"accuracy": score(0.5, 100)}})
    put(tmp_path / "b", report, {"name": "x", "seed": 0, "d": 2}, {"t": {"chrf": score(0.25, 50)}})
    groups = group_runs(load_runs([tmp_path / name for name in "ab"]))
    assert [row[-1] for row in task_block(groups, "t").rows] == ["100", "50"]
    assert [other_score(group, "t") for group in groups] == ["accuracy 50.0", "chrF 25.0"]
