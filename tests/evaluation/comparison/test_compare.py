"""Comparisons: what is grouped, what stands in the table, and what is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from rich.console import Console

from data.types import BadInputError
from evaluation.comparison.compare import group_runs, load_runs, warnings
from evaluation.comparison.comparison_figure import draw_comparison
from evaluation.comparison.comparison_report import to_markdown, write_comparison
from evaluation.comparison.comparison_table import print_comparison
from evaluation.provenance import config_hashes


@pytest.fixture
def runs(report: dict[str, Any], tmp_path: Path) -> Path:
    """Three seeds of one experiment, one run of a changed one, one of another name; typed 0.90 + 0.01 * seed."""
    for name, layer, seeds in (("fuse", 2, (0, 1, 2)), ("fuse", 3, (0,)), ("quick", 2, (5,))):
        for seed in seeds:
            config = {"name": name, "seed": seed, "run": f"{layer}{seed}", "fusion": {"layer": layer}, "d_model": 8}
            put_run(tmp_path / name / f"layer{layer}_seed{seed}", report, config, 0.9 + 0.01 * seed)
    return tmp_path


def put_run(folder: Path, report: dict[str, Any], config: dict[str, Any], typed: float) -> None:
    report = copy.deepcopy(report)
    report["tasks"]["easy_vqa/typed"]["accuracy"] |= {"value": typed, "low": typed - 0.02, "high": typed + 0.01}
    report["provenance"] |= config_hashes(config) | {"seed": config["seed"], "run": f"{config['name']}/{folder.name}"}
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def test_seeds_are_grouped_and_groups_named_by_what_differs(runs: Path) -> None:
    groups = group_runs(load_runs([runs / "*" / "*"]))
    assert [group.label for group in groups] == ["fuse (fusion.layer=2)", "fuse (fusion.layer=3)", "quick"]
    assert [len(group.runs) for group in groups] == [3, 1, 1]


def test_a_group_has_mean_and_range_and_a_run_its_interval(runs: Path) -> None:
    seeds, single, _ = group_runs(load_runs([runs / "*" / "*"]))
    spread = seeds.task("easy_vqa/typed")
    assert spread is not None
    assert (spread.mean, spread.lowest, spread.highest) == pytest.approx((0.91, 0.90, 0.92))
    assert spread.low is None
    alone = single.task("easy_vqa/typed")
    assert alone is not None
    assert (alone.mean, alone.low, alone.high) == pytest.approx((0.90, 0.88, 0.91))
    assert seeds.task("no such task") is None


def test_files_and_terminal_show_the_same_numbers(runs: Path) -> None:
    groups = group_runs(load_runs([runs / "*" / "*"]))
    folder = runs / "comparison"
    write_comparison(groups, folder)
    text = (folder / "compare.md").read_text(encoding="utf-8")
    assert "| fuse (fusion.layer=2) | 3 | 91.0 (90.0-92.0) |" in text
    assert "| fuse (fusion.layer=3) | 1 | 90.0 [88.0, 91.0] |" in text
    content = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    assert content["groups"][0]["tasks"]["easy_vqa/typed"]["mean"] == pytest.approx(0.91)
    assert content["groups"][0]["seeds"] == [0, 1, 2]
    assert content["groups"][0]["model"]["parameters"]["mean"] == 1_234_567
    page = (folder / "compare.html").read_text(encoding="utf-8")
    assert "91.0 (90.0-92.0)</td>" in page
    assert page.count("data:image/png;base64,") == 1, "its figure"
    with Image.open(folder / "compare.png") as picture:
        assert 600 <= picture.width <= 2000
    console = Console(width=80, record=True, quiet=False, file=(runs / "out.txt").open("w", encoding="utf-8"))
    print_comparison(groups, console)
    shown = console.export_text()
    assert "(90.0-92.0)" in shown
    assert "[88.0, 91.0]" in shown
    assert "…" not in shown


def test_every_run_is_a_point_in_the_figure(runs: Path) -> None:
    axes = draw_comparison(group_runs(load_runs([runs / "*" / "*"]))).axes[0]
    points = [container.lines[0].get_xdata()[0] for container in axes.containers]
    assert points == pytest.approx([0.90, 0.91, 0.92, 0.90, 0.95])
    means = [
        line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ]
    assert pytest.approx(0.91) in means


def test_tasks_that_a_run_lacks_are_left_empty(runs: Path) -> None:
    path = runs / "quick" / "layer2_seed5" / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    del report["tasks"]["easy_vqa/spoken"]
    report["train"]["seconds"] = None
    path.write_text(json.dumps(report), encoding="utf-8")
    groups = group_runs(load_runs([runs / "*" / "*"]))
    rows = [line for line in to_markdown(groups).splitlines() if line.startswith("| quick")]
    typed, spoken, cost = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows[:3])
    assert typed[2] != "-"
    assert spoken[2:] == ["-", "-"]
    assert cost[-1] == "-"
    draw_comparison(groups)


def test_checkpoints_of_one_run_are_not_its_seeds(runs: Path) -> None:
    folder = runs / "fuse" / "layer2_seed0"
    early = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    early["provenance"]["step"] = 1000
    (folder / "evaluations" / "step_1000").mkdir(parents=True)
    (folder / "evaluations" / "step_1000" / "report.json").write_text(json.dumps(early), encoding="utf-8")
    groups = group_runs(load_runs([folder, folder / "evaluations" / "step_1000"]))
    assert [group.label for group in groups] == ["step=3000", "step=1000"]


def test_labels_never_repeat(report: dict[str, Any], tmp_path: Path) -> None:
    for number in range(2):
        put_run(tmp_path / f"copy{number}", report, {"name": "x", "seed": 0, "hidden": number}, 0.9)
        (tmp_path / f"copy{number}" / "config.yaml").unlink()
    found = [group.label for group in group_runs(load_runs([tmp_path / "copy0", tmp_path / "copy1"]))]
    assert len(set(found)) == 2


def test_unfair_comparisons_are_marked(runs: Path) -> None:
    groups = group_runs(load_runs([runs / "*" / "*"]))
    assert warnings(groups) == []
    path = runs / "quick" / "layer2_seed5" / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["provenance"] |= {"data_hash": "other", "trained_on": {"processor": "another", "cores": 64}}
    path.write_text(json.dumps(report), encoding="utf-8")
    found = warnings(group_runs(load_runs([runs / "*" / "*"])))
    assert "same questions" in found[0]
    assert "different machines" in found[1]


def test_what_cannot_be_compared_is_named(runs: Path) -> None:
    (runs / "empty").mkdir()
    with pytest.raises(BadInputError, match=r"empty: has no report\.json; run python scripts/evaluate\.py"):
        load_runs([runs / "empty"])
    with pytest.raises(BadInputError, match="nowhere: no such run folder"):
        load_runs([runs / "nowhere"])
    with pytest.raises(BadInputError, match=r"nothing\*: matches no folder with a report"):
        load_runs([runs / "nothing*"])
    with pytest.raises(BadInputError, match="runs: names no run"):
        load_runs([])
    (runs / "empty" / "report.json").write_text("{", encoding="utf-8")
    with pytest.raises(BadInputError, match=r"report\.json: not a report"):
        load_runs([runs / "empty"])


def test_a_run_named_twice_counts_once(runs: Path) -> None:
    folder = runs / "quick" / "layer2_seed5"
    assert len(load_runs([folder, runs / "quick" / "*"])) == 1
