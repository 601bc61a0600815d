"""What GitHub, pre-commit and a citation read: valid, and in the versions that the project says elsewhere."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pages.examples import REPOSITORY

FORMS = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
FORM = {"name", "description", "title", "labels", "assignees", "body"}
FIELDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
CITATION_TYPES = {"software", "dataset"}
RELEASE = re.compile(r"^## \[(Unreleased|\d+\.\d+\.\d+)\](?: - (\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)
# The kinds of changes of Keep a Changelog.
CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def read(path: str | Path) -> Any:
    return yaml.safe_load((REPOSITORY / path).read_text("utf-8"))


def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]


def pinned(name: str) -> str:
    """The version of a package in constraints.txt."""
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    return next(line.partition("==")[2] for line in lines if line.partition("==")[0] == name)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_forms_for_issues_are_valid(path: Path) -> None:
    form = read(path)
    if path.name == "config.yml":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert (
        {"name", "description", "body"} <= set(form) <= {"name", "description", "title", "labels", "assignees", "body"}
    )
    names = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert names
    assert len(set(names)) == len(names)
    for field in form["body"]:
        assert field["type"] in FIELDS
        assert set(field) <= {"type", "id", "attributes", "validations"}
        assert field["attributes"]["value" if field["type"] == "markdown" else "label"]
        assert set(field.get("validations", {})) <= {"required"}
        options = field["attributes"].get("options", ())
        assert bool(options) == (field["type"] in ("dropdown", "checkboxes"))
        assert all(isinstance(option, dict) == (field["type"] == "checkboxes") for option in options)


def test_there_is_a_form_for_bugs_results_and_methods() -> None:
    assert {"bug.yml", "result.yml", "method.yml"} <= {path.name for path in FORMS}
    assert "make test" in (REPOSITORY / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text("utf-8")


def test_the_citation_is_that_of_this_version() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation), "required by the schema"
    assert citation["type"] in CITATION_TYPES
    assert citation["version"] == project()["version"]
    assert citation["license"] == project()["license"]
    assert all(set(author) == {"name"} and isinstance(author["name"], str) for author in citation["authors"])


def test_the_changelog_has_this_version() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    releases = RELEASE.findall(text)
    assert releases[0] == ("Unreleased", "")
    assert project()["version"] in dict(releases)
    assert all(date for name, date in releases if name != "Unreleased")
    assert len(re.findall(r"^## ", text, re.MULTILINE)) == len(releases)
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= CHANGES


def test_hooks_before_a_commit_call_what_the_project_has_installed() -> None:
    config = read(".pre-commit-config.yaml")
    assert [repository["repo"] for repository in config["repos"]] == ["local"], "others have versions of their own"
    hooks = config["repos"][0]["hooks"]
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    assert "BIN := .venv/bin" in makefile
    for hook in hooks:
        assert {"id", "name", "entry", "language"} <= set(hook)
        assert hook["language"] == "system", "installs nothing"
        program, *options = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        command = " ".join([program.replace(".venv/bin", "$(BIN)"), *options]).replace(" --force-exclude", "")
        assert command in makefile, "make lint does the same"
    assert {hook["entry"].split()[0] for hook in hooks} == {".venv/bin/ruff", ".venv/bin/mypy"}


@pytest.mark.parametrize("name", ["ruff", "mypy"])
def test_the_installed_version_is_the_pinned_one(name: str) -> None:
    assert version(name) == pinned(name)
