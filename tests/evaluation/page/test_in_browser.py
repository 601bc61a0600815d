"""Pages opened in a browser, offline: no complaint, no request, tables that sort, clips that play."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from evaluation.page.write import write_page
from evaluation.reports.markdown import table
from evaluation.run import evaluate_checkpoint
from tests.chromium import launched, opened
from tests.evaluation.colours import parts
from tests.evaluation.page.hostile import HOSTILE, hostile_page
from tests.evaluation.saved_run import EVALUATION, save_run

ROWS = [
    ["late", "78.5 [76.7, 80.3]", "1,200", "-"],
    ["**early**", "9.25 [7, 10]", "9,673", "b"],
    ["- chance", "99.0 [98, 99]", "3", "a"],
    ["mid", "unknown", "87", "c"],
    ["cross", "+81 [70, 90]", "1e6", "B"],
    ["concat", "-3.0 [-4, -2]", "0.5", "a"],
]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an evaluation of typed and spoken questions about pictures, by a model that knows nothing."""
    model, tokenizer, _ = parts()
    folder = tmp_path_factory.mktemp("runs") / "colours" / "first"
    save_run(folder, model, tokenizer, step=20)
    return evaluate_checkpoint(folder, EVALUATION, progress=False).folder / "report.html"


@pytest.fixture(scope="module")
def sortable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, "\n".join(["# A", "", *table(["method", "accuracy", "n", "note"], ROWS)]))
    return path


def column(page: Page, place: int) -> list[str]:
    return page.locator(f"tbody tr td:nth-child({place + 1})").all_inner_texts()


def orders(page: Page) -> Sequence[str | None]:
    return [head.get_attribute("aria-sort") for head in page.locator("th").all()]


def test_a_report_opens_shows_and_plays(browser: Browser, evaluated: Path) -> None:
    with opened(browser, evaluated) as found:
        page = found.page
        page.wait_for_function("[...document.querySelectorAll('audio')].every(clip => clip.readyState > 0)")
        clips = page.evaluate("[...document.querySelectorAll('audio')].map(clip => clip.duration)")
        assert len(clips) >= 3
        assert all(0.01 < seconds < 10 for seconds in clips)
        widths = page.evaluate("[...document.images].map(image => image.complete ? image.naturalWidth : 0)")
        assert len(widths) >= 10
        assert min(widths) > 0
        assert page.locator("article").count() >= 6
        assert page.locator("article dt", has_text="its probability").count() >= 6
        plays = "async clip => { clip.muted = true; await clip.play(); return clip.paused }"
        assert page.locator("audio").first.evaluate(plays) is False
        assert (found.errors, found.beyond_itself) == ([], [])
    assert evaluated.stat().st_size < 2 * 2**20


def test_a_click_sorts_by_value_then_backwards_then_not_at_all(browser: Browser, sortable: Path) -> None:
    with opened(browser, sortable) as found:
        before = column(found.page, 0)
        head = found.page.locator("th", has_text="accuracy").locator("button")
        head.click()
        rising = ["concat", "early", "- chance", "late", "cross", "mid"]
        assert column(found.page, 0) == rising, "a row about another stays with it, what is unknown comes last"
        assert orders(found.page) == ["none", "ascending", "none", "none"]
        head.click()
        assert column(found.page, 0) == ["cross", "late", "early", "- chance", "concat", "mid"]
        assert orders(found.page) == ["none", "descending", "none", "none"]
        head.click()
        assert column(found.page, 0) == before
        assert orders(found.page) == ["none"] * 4
        assert found.errors == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("n", ["concat", "mid", "late", "early", "- chance", "cross"]),
        ("method", ["concat", "cross", "early", "- chance", "late", "mid"]),
        ("note", ["concat", "early", "- chance", "cross", "mid", "late"]),
    ],
)
def test_the_keyboard_sorts_numbers_and_words(browser: Browser, sortable: Path, name: str, expected: list[str]) -> None:
    with opened(browser, sortable) as found:
        found.page.get_by_role("button", name=name, exact=True).focus()
        found.page.keyboard.press("Enter")
        assert column(found.page, 0) == expected


def test_texts_of_data_do_nothing(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, hostile_page(tmp_path / "page.html")) as found:
        dialogs: list[str] = []
        found.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        found.page.reload()
        found.page.locator("th button").first.click()
        assert (found.errors, found.beyond_itself, dialogs) == ([], [], [])
        for text in HOSTILE:
            assert found.page.get_by_text(text, exact=True).count() >= 3
        assert found.page.locator("main script, main svg, main style").count() == 0


def test_the_page_itself_refuses_the_network(browser: Browser, sortable: Path) -> None:
    """Whatever got into it: the browser is asked for a picture, a script and data of a server on this machine."""
    tries = """async () => {
        const refused = [];
        document.addEventListener("securitypolicyviolation", event => refused.push(event.effectiveDirective));
        const address = "http://127.0.0.1:9/x";
        document.body.append(Object.assign(new Image(), { src: address }));
        document.body.append(Object.assign(document.createElement("script"), { src: address }));
        document.body.append(Object.assign(document.createElement("script"), { textContent: "window.ran = true" }));
        await fetch(address).catch(() => {});
        for (let tries = 0; tries < 1000 && refused.length < 4; tries++)
            await new Promise(done => setTimeout(done, 50));
        return [refused.map(name => name.split("-")[0]).sort(), window.ran === true];
    }"""
    with opened(browser, sortable) as found:
        assert found.page.evaluate(tries) == [["connect", "img", "script", "script"], False]


def test_a_phone_scrolls_tables_and_not_the_page(browser: Browser, evaluated: Path) -> None:
    with opened(browser, evaluated, width=360) as found:
        assert found.page.evaluate("document.documentElement.scrollWidth") <= 360
        wide = "[...document.querySelectorAll('.scroll')].some(box => box.scrollWidth > box.clientWidth)"
        assert found.page.evaluate(wide)


def test_light_and_dark_can_be_read(browser: Browser, evaluated: Path) -> None:
    shades = []
    for dark in (False, True):
        with opened(browser, evaluated, dark=dark) as found:
            colours = found.page.evaluate(
                "['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name].match(/\\d+/g))"
            )
            ink, paper = (sum(map(int, colour[:3])) / 765 for colour in colours)
            shades.append((ink, paper))
            assert abs(ink - paper) > 0.7
    assert shades[0][1] > 0.9 > 0.2 > shades[1][1]


def test_commands_are_copied(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, hostile_page(tmp_path / "page.html")) as found:
        block = found.page.locator("pre").first
        found.page.locator("button.copy").first.click()
        assert found.page.evaluate("getSelection().toString()").strip() == block.inner_text().strip() == HOSTILE[0]


@pytest.mark.parametrize("continuous", [False, True])
def test_without_a_browser_tests_are_skipped_and_fail_where_they_are_watched(
    continuous: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERFUSE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "true" if continuous else "")
    expected = pytest.fail.Exception if continuous else pytest.skip.Exception
    told = r"there is no Chromium; fetch one with: python -m tests\.chromium"
    with pytest.raises(expected, match=told), launched():
        pass
    assert list(tmp_path.iterdir()) == [], "a test fetches nothing"
