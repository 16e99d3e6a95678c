"""The pages name what exists: methods, figures, configurations, messages, links."""

import ast
import importlib
import json
import re
import tomllib
from functools import partial
from pathlib import Path

import pytest
import yaml

import wsss_zoo.contract
import wsss_zoo.methods
from tests.each import each
from wsss_zoo import Shapes
from wsss_zoo.cli.method_table import read_methods

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page for page in (DOCS / "methods").glob("*.md") if page.stem != "index")
METHODS = [name for name in wsss_zoo.methods.__all__ if not name.endswith("Method")]
TEXTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.rglob("*.md")),
]


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "build"))
    return importlib.import_module


@pytest.fixture
def table(load):
    return load("method_table")


def test_every_method_has_one_page(table):
    titles = [head["title"] for head in table.read_heads().values()]
    others = [method for method in METHODS if titles.count(method) != 1]
    assert not others, f"write docs/methods/<name>.md of {others}: see CONTRIBUTING.md"


@each("page", PAGES)
def test_page_has_what_every_page_has(page, table, load):
    head, text = table.read_head(page), page.read_text()
    assert {"title", "place", "paper", "labels", "config"} <= set(head)
    assert (ROOT / head["config"]).is_file()
    for section in ("## Equation", "## Labels it needs", "## Run it", "## Measured", "iffer"):
        assert section in text
    assert "$$" in text
    assert "<!-- insert: measured -->" in text
    assert f"insert: file {head['config']}" in text
    assert f"methods/{page.name}" in (ROOT / "mkdocs.yml").read_text()
    assert (DOCS / "images" / f"{page.stem}.png").is_file(), "draw it: docs/build/figures.py"
    assert page.stem in load("figures").FIGURES
    if head["title"] in METHODS:
        assert f"::: wsss_zoo.methods.{head['title']}\n" in text


def test_places_of_methods_differ(table):
    places = [head["place"] for head in table.read_heads().values()]
    assert len(set(places)) == len(places)


def test_figures_are_small():
    sizes = [path.stat().st_size for path in (DOCS / "images").iterdir()]
    assert max(sizes) < 120_000
    assert sum(sizes) < 2_000_000


@pytest.mark.slow
def test_figures_can_be_drawn_and_are_the_same_each_time(load, tmp_path, monkeypatch):
    # Few images, networks that are not trained: the pictures differ from those of the pages.
    monkeypatch.setattr(load("figure_example"), "Shapes", partial(Shapes, num_train=60))
    example = load("figure_example").make_example(None)
    for name, draw in load("figures").FIGURES.items():
        draw(example).save(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000
    load("semi_figures").cps(example).save(tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "cps.png").read_bytes()


def test_readme_has_the_table_as_it_is_now(table):
    readme = (ROOT / "README.md").read_text()
    assert readme == table.with_table(readme), "run: python docs/build/method_table.py"
    assert all(f"[{method}](docs/methods/" in readme for method in METHODS)


def test_readme_says_what_was_run_with_the_constants_of_papers(table):
    run = [
        head["title"] for head in table.read_heads().values() if table.paper_scale(head) == "run"
    ]
    assert not run, f"README says that none was run, beside {', '.join(run)}"
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert "No configuration with a paper's constants has been run yet." in readme


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]["text"]
    assert citation["authors"] == project["authors"]
    assert f"\n## {project['version']}\n" in (ROOT / "CHANGELOG.md").read_text()


def write_run(folder, miou, masks=55):
    folder.mkdir(parents=True)
    (folder / "val_results.json").write_text(json.dumps({"metrics": {"val/miou": miou}}))
    config = {"data": {"init_args": {"labeled_split": f"labeled_{masks}"}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_what_was_measured_is_a_difference_by_seed(table, tmp_path):
    for seed, base, mine in ((0, 0.40, 0.43), (1, 0.50, 0.51)):
        write_run(tmp_path / "semi" / "supervised" / f"seed{seed}", base)
        write_run(tmp_path / "semi" / "cps" / f"seed{seed}", mine)
    # Without a baseline of its seed a run does not count.
    write_run(tmp_path / "semi" / "cps" / "seed2", 0.9)
    assert table.measured({"rows": ["cps"]}, tmp_path) == ["+2.0 ± 1.4 (55 masks, 2 seeds)"]
    assert table.measured({"rows": ["other", "cps"]}, tmp_path) == [
        "cps: +2.0 ± 1.4 (55 masks, 2 seeds)"
    ]
    assert table.measured({"rows": ["fixmatch"]}, tmp_path) == []
    assert table.measured({}, tmp_path) == []


def test_the_table_has_the_first_row_where_it_has_the_most_seeds_then_masks(table, tmp_path):
    for family, masks, seeds in (("a", 28, (0, 1)), ("b", 55, (0, 1)), ("c", 109, (0,))):
        for seed in seeds:
            for row, miou in (("supervised", 0.4), ("cps", 0.4 + masks / 1000), ("other", 0.9)):
                write_run(tmp_path / family / row / f"seed{seed}", miou, masks)
    assert table.one_number({"rows": ["cps", "other"]}, tmp_path) == (
        "+5.5 ± 0.0 points (55 masks, 2 seeds)"
    )
    assert table.one_number({"rows": ["fixmatch", "other"]}, tmp_path) == ""
    assert table.one_number({}, tmp_path) == ""


def test_what_a_pipeline_reported_is_a_mean(table, tmp_path):
    for seed, miou in ((0, 0.40), (1, 0.50)):
        (tmp_path / "tags" / f"seed{seed}").mkdir(parents=True)
        summary = tmp_path / "tags" / f"seed{seed}" / "summary.json"
        summary.write_text(json.dumps({"report": {"val": miou}}))
    head = {"pipeline": ["tags", "val"]}
    assert table.measured(head, tmp_path) == ["45.0 ± 7.1 mIoU of the segmenter (2 seeds)"]
    assert table.one_number(head, tmp_path) == "45.0 ± 7.1 % mIoU (2 seeds)"


def test_labels_of_methods_are_in_words():
    entries = read_methods()
    unnamed = [name for name in METHODS if entries[name].labels_needed == entries[name].supervision]
    assert not unnamed, "name their regime in method_table.LABELS"


@each("text", TEXTS)
def test_links_and_configurations_exist(text):
    content = text.read_text()
    prose = re.sub(r"```.*?```", "", content, flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
        if "://" not in link:
            assert (text.parent / link).exists(), link
    for config in re.findall(r"experiments/[\w/]+\.(?:yaml|py)", content):
        assert (ROOT / config).is_file(), config


def messages(path):
    """Strings of a file; of an f-string what stands between its values."""
    return [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_messages_under_troubleshooting_are_those_of_the_code():
    said = [text for path in (ROOT / "wsss_zoo").rglob("*.py") for text in messages(path)]
    page = (DOCS / "troubleshooting.md").read_text().split("## Symptoms")[0]
    readme = (ROOT / "README.md").read_text().split("## Troubleshooting")[1].split("## ")[0]
    quoted = re.findall(r"^\| `([^`]+)` \|", page + readme, re.MULTILINE)
    assert len(quoted) > 15
    for message in quoted:
        assert any(message in text for text in said), message


def test_equations_and_inserts_are_filled_in(load):
    hooks = load("build_hooks")

    class Page:
        meta = load("method_table").read_head(DOCS / "methods" / "cps.md")

    for path in DOCS.rglob("*.md"):
        filled = hooks.on_page_markdown(path.read_text(), Page)
        assert "<!-- insert:" not in filled
        assert not re.search(r"\$\$", re.sub(r"```.*?```|`[^`\n]*`", "", filled, flags=re.DOTALL))
    assert "<math" in hooks.on_page_markdown("$x$", Page)
    assert hooks.on_page_markdown("`$x$`", Page) == "`$x$`"


def test_table_of_batches_has_every_key_of_the_contract(load):
    page = load("build_hooks").on_page_markdown((DOCS / "data_sets.md").read_text(), None)
    table = load("batch_table").batch_table()
    assert table in page
    rows = table.splitlines()[2:]
    assert [row.split("|")[1].strip(" `") for row in rows if not row.startswith("|  |")] == [
        *wsss_zoo.contract.BATCHES
    ]
    for kind in [*wsss_zoo.contract.BATCHES.values(), wsss_zoo.contract.UnlabeledBatch]:
        for key in kind.__annotations__:
            assert re.search(rf"`(\w+\.)?{key}`", table), key


@each("layer", ["functional", "modules", "methods", "data", "callbacks"])
def test_api_lists_what_a_layer_exports(layer, load):
    listed = load("build_hooks").on_page_markdown(f"<!-- insert: api {layer} -->", None)
    names = {line.rsplit(".", 1)[1] for line in listed.splitlines() if line.startswith(":::")}
    assert names == set(importlib.import_module(f"wsss_zoo.{layer}").__all__)


def test_pages_load_nothing_from_elsewhere(load):
    hooks = load("build_hooks")

    class Page:
        class file:  # noqa: N801
            src_path = "index.md"

    fine = '<a href="https://example.org">x</a><script src="assets/x.js"></script>'
    assert hooks.on_post_page(fine, Page) == fine
    for loaded in ('<script src="https://x.org/a.js">', '<link rel=x href="//x.org/a.css">'):
        with pytest.raises(hooks.PluginError, match=r"index\.md loads .*x\.org"):
            hooks.on_post_page(loaded, Page)


def test_doctests_of_docstrings_become_code(load):
    class Docstring:
        value = "Add.\n\n>>> 1 + 1\n2\n>>> 2\n2\n\nMore."

    class Function:
        docstring = Docstring()

    load("doctest_blocks").DoctestBlocks().on_object(obj=Function)
    fenced = "Add.\n\n```python\n>>> 1 + 1\n2\n>>> 2\n2\n```\n\nMore."
    assert Function.docstring.value == fenced
