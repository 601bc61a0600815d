"""Reports as files: stable keys, nothing lost, nothing half written."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from data.types import BadInputError
from evaluation.conditions import column_head, condition_name, context_of_report
from evaluation.reports import report as report_module
from evaluation.reports.figures.scores import draw_scores
from evaluation.reports.report import (
    choose_folder,
    keep_old_report,
    print_table,
    read_report,
    to_markdown,
    write_report,
)

TASKS = ["easy_vqa/typed", "easy_vqa/spoken"]
KINDS = ("removed", "shuffled")


def put(report: dict[str, Any], folder: Path) -> None:
    """The file alone, without the figures that take a second."""
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


def test_the_design_s_keys_are_there(report: dict[str, Any], tmp_path: Path) -> None:
    write_report(report, tmp_path)
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert {"tasks", "breakdown", "audit", "model", "train", "data", "provenance"} <= set(written)
    assert set(written["tasks"]["easy_vqa/typed"]["accuracy"]) == {"value", "low", "high", "n"}
    assert set(written["audit"]["easy_vqa/typed"]["question_only"]) == {"value", "low", "high", "n"}
    assert set(written["model"]) == {"parameters", "active_parameters", "flops"}
    assert set(written["model"]["flops"]) == {"inference", "training", "by_part"}
    assert set(written["train"]) == {"seconds", "steps", "tokens"}
    assert written == report


def test_markdown_shows_every_score_and_every_figure(
    report: dict[str, Any], metrics_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    write_report(report, folder, metrics_file)
    text = (folder / "report.md").read_text(encoding="utf-8")
    for task in TASKS:
        score = report["tasks"][task]["accuracy"]
        assert f"| **{task}** | {100 * score['value']:.1f} [{100 * score['low']:.1f}, " in text
    figures = sorted(path.name for path in (folder / "figures").iterdir())
    assert "scores.png" in figures
    assert "training.png" in figures
    assert len(figures) == 6
    for name in figures:
        assert f"(figures/{name})" in text
    assert not list(folder.rglob("*.tmp"))


def printed(report: dict[str, Any], width: int) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    print_table(report, console)
    return console.export_text()


def all_there(report: dict[str, Any], text: str) -> bool:
    """Whether a table holds every score in one piece, and every name by its parts."""
    scores = [report["tasks"][task]["accuracy"] for task in report["tasks"]]
    numbers = {f"{100 * score['low']:.1f}-{100 * score['high']:.1f}" for score in scores}
    for audit in report["audit"].values():
        numbers |= {f"{100 * score['low']:.0f}-{100 * score['high']:.0f}" for score in audit.values()}
    parts = {part for task in report["tasks"] for part in task.replace("/", "/ ").split()}
    heads = {"majority", "answer", "question", "other", "image", "audio"}
    return "…" not in text and numbers | parts | heads <= set(text.split())


def test_the_terminal_table_fits_eighty_columns(report: dict[str, Any]) -> None:
    assert all_there(report, printed(report, 80))


def test_a_task_of_another_family_of_voices_fits_too(report: dict[str, Any]) -> None:
    for part in ("tasks", "audit"):
        report[part]["easy_vqa/spoken_piper"] = report[part][TASKS[1]]
    text = printed(report, 80)
    assert all_there(report, text)
    assert "task model answer question image question image audio" in " ".join(text.split()), "a row for each task"


def test_an_audit_of_many_modalities_becomes_rows(report: dict[str, Any]) -> None:
    for name in ("sentence", "vibration", "temperature", "pressure"):
        report["audit"][TASKS[1]] |= {f"{name}_{kind}": report["audit"][TASKS[1]]["image_only"] for kind in KINDS}
    text = printed(report, 80)
    assert all_there(report, text)
    assert {"temperature", "vibration"} <= set(text.split())
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "typed spoken" in lines, "tasks are the columns"
    assert max(map(len, text.splitlines())) <= 80


def written(report: dict[str, Any]) -> str:
    """The page, and the table of the terminal below it."""
    return f"{to_markdown(report, {})}\n{printed(report, 100)}"


def test_a_page_about_sound_does_not_speak_of_images(report: dict[str, Any]) -> None:
    report["context"] = {task: ["audio"] for task in TASKS}
    for task in TASKS:
        report["audit"][task]["audio_shuffled"] = report["audit"][task].pop("image_shuffled")
        report["omitted"][task] = {"image_only": "no reason", "question_only": "no reason"}
    page = written(report)
    assert "image" not in page.lower()
    assert "model without the audio |" in page
    assert "easy_vqa/typed, model without the question left out: no reason" in page
    axes = draw_scores(report).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()] + [axes.get_xlabel()]
    assert "model without the audio" in shown
    assert not any("image" in text for text in shown)


def test_columns_name_the_context_that_all_tasks_share(report: dict[str, Any]) -> None:
    assert column_head("question_only", context_of_report(report)) == "no\nimage", "older reports do not say it"
    report["context"] = dict(zip(TASKS, (["image"], ["audio"]), strict=True))
    assert column_head("question_only", context_of_report(report)) == "no\ncontext"
    assert condition_name("question_only", ["audio", "image"]) == "model without the audio and image"


def test_fewer_rows_and_long_answers_are_told(report: dict[str, Any]) -> None:
    audit = report["audit"][TASKS[1]]
    audit["audio_shuffled"]["n"] = 77
    report["audited_rows"] = {TASKS[1]: {"audio_shuffled": audit["image_only"] | {"value": 0.654}}}
    report["long_answers"] = {TASKS[0]: {"count": 3, "n": 40, "longest": 99, "max_new_tokens": 16}}
    page = written(report)
    assert "| 77 | 65.4 |" in page
    assert "n=77" in page.partition("accuracy in percent")[2], "in the terminal too"
    told = "3 of 40 expected answers are longer than max_new_tokens=16, up to 99 tokens"
    assert page.count("3 of 40 expected answers") == 2
    assert told in page


def test_the_newest_checkpoint_reports_into_the_run_folder(tmp_path: Path) -> None:
    assert choose_folder(tmp_path, 3000, "c0ffee", TASKS, newest=True, output=None) == tmp_path
    other = choose_folder(tmp_path, 1000, "beef", TASKS, newest=False, output=None)
    assert other == tmp_path / "evaluations" / "step_1000"
    assert choose_folder(tmp_path, 1, "a", TASKS, newest=True, output=tmp_path / "x") == tmp_path / "x"


def test_a_report_of_old_names_is_read(report: dict[str, Any], tmp_path: Path) -> None:
    """Operations of the forward pass were the only ones, and had another name."""
    del report["model"]["flops"]
    put({**report, "model": {**report["model"], "flops_per_sample": 2.1e8}}, tmp_path)
    found = read_report(tmp_path)
    assert found is not None
    assert found["model"]["flops"] == {"inference": 2.1e8, "training": None, "by_part": {}}
    write_report(found, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "210.0 MFLOP per question (forward, prompt and answer), unknown per training sample" in text


def test_an_older_report_moves_aside(report: dict[str, Any], metrics_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_report(report, folder, metrics_file)
    newer = json.loads(json.dumps(report))
    newer["provenance"] |= {"step": 4000, "checkpoint_hash": "beef"}
    write_report(newer, folder)
    assert read_report(folder) == newer
    kept = folder / "evaluations" / "step_3000"
    assert read_report(kept) == report
    assert (kept / "report.md").is_file()
    assert (kept / "figures" / "training.png").is_file()
    write_report(newer, folder)
    assert read_report(kept) == report, "the same checkpoint replaces its own report only"


def test_a_retrained_step_does_not_push_out_the_kept_report(report: dict[str, Any], tmp_path: Path) -> None:
    versions = []
    for name in ("first", "second", "third"):
        version = json.loads(json.dumps(report))
        version["provenance"]["checkpoint_hash"] = name * 3
        keep_old_report(tmp_path, version)
        put(version, tmp_path)
        versions.append(version)
    kept = [read_report(folder) for folder in sorted((tmp_path / "evaluations").iterdir())]
    assert kept == versions[:2]


def test_nothing_is_lost_where_a_repetition_finds_something_else(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file behind a name may have changed, or the code that scores."""
    monkeypatch.setattr(report_module, "all_pictures", lambda *arguments: {})
    write_report(report, tmp_path)
    (tmp_path / "answers.jsonl").write_text("the answers", encoding="utf-8")
    again = json.loads(json.dumps(report))
    again["provenance"]["evaluation_seconds"] = 99
    write_report(again, tmp_path)
    assert not (tmp_path / "evaluations").exists(), "the same scores replace themselves"
    for number, name in enumerate(("step_3000", "step_3000-2")):
        again["tasks"][TASKS[0]]["accuracy"]["value"] = 0.5 + number / 10
        before = read_report(tmp_path)
        write_report(again, tmp_path)
        assert read_report(tmp_path / "evaluations" / name) == before
    assert (tmp_path / "evaluations" / "step_3000" / "answers.jsonl").read_text(encoding="utf-8") == "the answers"


def test_a_report_is_made_where_none_is_and_repeated_only_as_it_was(report: dict[str, Any], tmp_path: Path) -> None:
    put(report, tmp_path)
    with pytest.raises(BadInputError, match=r"report on other tasks \(easy_vqa/typed, easy_vqa/spoken\)"):
        choose_folder(tmp_path, 3000, "c0ffee", ["manifest"], newest=True, output=None)
    for checkpoint in ("beef", "c0ffee"):
        with pytest.raises(BadInputError, match=r"^output=.*: holds report\.json already, and nothing is overwritten"):
            choose_folder(tmp_path, 3000, checkpoint, TASKS, newest=True, output=tmp_path)
    with pytest.raises(BadInputError, match=r"^output=.*report\.json: is a file"):
        choose_folder(tmp_path, 3000, "c0ffee", TASKS, newest=True, output=tmp_path / "report.json")
    place = (tmp_path, 3000, "c0ffee", TASKS, True, None)
    assert choose_folder(*place, "an older report does not say it") == tmp_path
    report["provenance"]["evaluation_hash"] = "one"
    put(report, tmp_path)
    assert choose_folder(*place, "one") == tmp_path
    with pytest.raises(BadInputError, match=r"report on other files or settings; choose a folder with output="):
        choose_folder(*place, "two")


def test_a_failed_write_leaves_the_old_report(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(report, tmp_path)
    changed = json.loads(json.dumps(report))
    changed["train"]["seconds"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        write_report(changed, tmp_path)
    assert read_report(tmp_path) == report

    def full(*arguments: object, **keywords: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report_module, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(report, tmp_path)
    assert read_report(tmp_path) == report


def test_tables_say_how_many_rows_are_in_no_score(report: dict[str, Any]) -> None:
    clean = written(report)
    assert "in no score" not in clean
    few, many = {"rows": 3060, "skipped": 60, "first": "a.jsonl:9: x|y"}, {"rows": 6000, "skipped": 3000, "first": "z"}
    report["data"]["tasks"] = {TASKS[0]: few, TASKS[1]: many}
    page, text = to_markdown(report, {}), " ".join(printed(report, 80).split())
    told = f"{TASKS[0]}: 60 of 3,060 rows (2%) could not be read or answered, and are in no score; the first: a.jsonl:9"
    loud = f"warning: {TASKS[1]}: 3,000 of 6,000 rows (50%) could not be read or answered"
    for shown in (page, text):
        assert told in shown
        assert f"warning: {TASKS[0]}" not in shown
        assert loud in shown
    assert "n=3,000 of 6,000" in text
    assert f"| **{TASKS[1]}** |" in page
    assert "| 3,000 of 6,000 |" in page
    del report["data"]["tasks"]
    report["data"]["skipped_in_evaluation"] = 7
    assert "7 rows could not be read or answered, and are in no score" in written(report), "an older report"


def test_markup_in_names_is_text(report: dict[str, Any]) -> None:
    for part in ("tasks", "audit", "breakdown", "confusion", "omitted"):
        report[part] = {f"[red]{task}[/blue] | :smile:": found for task, found in report[part].items()}
    report["data"]["tasks"] = {"[bold]t[/x]": {"rows": 2, "skipped": 1, "first": "[/nothing] <b>`"}}
    text = printed(report, 200)
    assert "[red]easy_vqa/" in text
    assert "blue] | :smile:" in text
    assert "[bold]t[/x]: 1 of 2" in text
    page = to_markdown(report, {})
    assert "&lt;b>\\`" in page
    assert "<b>" not in page


@pytest.mark.parametrize("content", ["{", "[]", '{"tasks": {}}', "\xff"])
def test_a_damaged_report_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(BadInputError, match=r"report\.json: not a report"):
        read_report(tmp_path)


def test_reasons_of_skipped_rows_are_shown_as_they_are(report: dict[str, Any], tmp_path: Path) -> None:
    """Reasons hold names of files; a terminal is sent none of their control characters, nor half a surrogate pair."""
    found = {"rows": 10, "skipped": 5, "first": "a\x1b[2J \ud83d [red]b[/c] :smile:\nd.png: cannot be read"}
    report["data"]["tasks"] = {TASKS[0]: found}
    with (tmp_path / "out.txt").open("w", encoding="utf-8") as stream:
        print_table(report, Console(width=300, file=stream))
    shown = (tmp_path / "out.txt").read_text(encoding="utf-8")
    assert "the first: a [2J \N{REPLACEMENT CHARACTER} [red]b[/c] :smile: d.png: cannot be read" in shown
