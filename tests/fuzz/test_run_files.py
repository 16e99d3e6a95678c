"""Whatever is in a run's folder, ``compare`` reads what can be read and says what cannot."""

import json
import math

import numpy as np
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.strategies import json_values
from tests.report.page.test_examples import write_labels, write_sheet
from tests.report.run_folders import config, write_pipeline, write_run
from wsss_zoo.drawing.pictures import PANELS, save_sheet
from wsss_zoo.report.comparison import compare
from wsss_zoo.report.find_runs import find_runs
from wsss_zoo.report.metrics_file import read_metrics_file
from wsss_zoo.report.page import page
from wsss_zoo.report.page.examples import collect_examples
from wsss_zoo.report.runs import read_run
from wsss_zoo.report.tables import csv_text, json_text, markdown_table
from wsss_zoo.runs.metrics_csv import MetricsFile, read_metrics

CELLS = st.sampled_from(
    ["", "0", "7", "-3", "1e5", "nan", "inf", "-inf", "x", '"', "1e400", "9" * 30]
)
TABLE = st.text(alphabet='step,epoch019.eE+-\n\r"naif/ \t\0\x1c\u2028é', max_size=120)


@st.composite
def tables(draw):
    """Lines under a header that may name a column twice."""
    names = st.sampled_from(["step", "epoch", "val/miou", "train/loss", "", "a"])
    header = draw(st.lists(names, min_size=1, max_size=5))
    if draw(st.booleans()):
        header = ["step", *header]
    rows = draw(st.lists(st.lists(CELLS, min_size=1, max_size=6), max_size=8))
    ends = draw(st.sampled_from(["\n", "\r\n"]))
    return ends.join(map(",".join, [header, *rows])) + draw(st.sampled_from(["", ends]))


@given(tables() | TABLE | st.binary(max_size=80))
def test_any_metrics(tmp_path, text):
    path = tmp_path / "metrics.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    found = read_metrics_file(path)
    assert all(isinstance(problem, str) for problem in found.problems)
    for curve in found.curves.values():
        assert np.isfinite(curve.values).all()
        assert (np.diff(curve.steps) >= 0).all()
        assert len(curve.steps) == len(curve.values) > 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1000),
            st.dictionaries(st.sampled_from("abcd"), st.floats(-1e9, 1e9), min_size=1),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 200),
)
def test_metrics_round_trip(tmp_path, rows, cut):
    path = tmp_path / "metrics.csv"
    path.unlink(missing_ok=True)
    written = MetricsFile(path)
    for step, metrics in rows:
        written.log_metrics(metrics, step)
        written.save()
    expected = [{**metrics, "step": step} for step, metrics in rows]
    found = [{key: float(value) for key, value in row.items()} for row in read_metrics(path)]
    assert found == expected
    # A kill leaves half a line: what is whole stays, and can be gone on with.
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - min(cut, len(whole))])
    kept = read_metrics(path)
    MetricsFile(path, first_step=500)
    assert all(int(row["step"]) < 500 for row in read_metrics(path))
    assert len(kept) <= len(rows)


# Where a value stands in the files of a run that `write_run` makes.
PLACES = {
    "val_results.json": [
        (),
        ("metrics",),
        ("class_names",),
        ("confusion",),
        ("method",),
        ("sweep",),
    ],
    "started.json": [()],
    "done.json": [(), ("seconds",)],
    "pseudo_labels/manifest.json": [(), ("class_names",)],
    "reliability.json": [(), ("metrics",)],
}
SETTINGS = [
    (),
    ("seed_everything",),
    ("trainer",),
    ("trainer", "max_steps"),
    ("trainer", "log_every_n_steps"),
    ("model",),
    ("model", "class_path"),
    ("model", "init_args"),
    ("data",),
    ("data", "class_path"),
    ("evaluation",),
]


def replaced(content, place, value):
    if not place:
        return value
    return content | {place[0]: replaced(content.get(place[0], {}), place[1:], value)}


@st.composite
def edits(draw):
    name = draw(st.sampled_from(sorted(PLACES)))
    return name, draw(st.sampled_from(PLACES[name])), draw(json_values())


def everything(root):
    """All that ``compare`` makes of the runs in a folder, but for reading a data set's images."""
    comparison = compare(find_runs([root]))
    text = page(comparison, collect_examples(comparison, 0), "wsss-zoo compare")
    assert text.endswith("</html>\n")
    json.loads(json_text(comparison))
    csv_text(comparison)
    markdown_table(comparison)
    markdown_table(comparison, by_seed=True)
    return comparison


@given(edits())
def test_any_json_in_a_run(tmp_path_factory, edit):
    root = tmp_path_factory.mktemp("runs", numbered=True)
    run = write_run(root / "a")
    name, place, value = edit
    path = run / name
    path.parent.mkdir(exist_ok=True)
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(replaced(content, place, value)))
    found = read_run(run)
    assert all(isinstance(name, str) for name in found.class_names)
    assert all(math.isfinite(number) for number in found.metrics.values())
    everything(root)


@given(st.sampled_from(SETTINGS), json_values() | st.dates() | st.binary(max_size=4))
def test_any_value_in_a_configuration(tmp_path_factory, place, value):
    root = tmp_path_factory.mktemp("runs", numbered=True)
    run = write_run(root / "a")
    write_run(root / "b", seed=1)
    (run / "config.yaml").write_text(yaml.safe_dump(replaced(config(), place, value)))
    found = read_run(run)
    assert isinstance(found.method, str)
    assert found.seed is None or isinstance(found.seed, int)
    assert all(isinstance(text, str) for text in found.settings.values())
    everything(root)


@given(
    st.text(max_size=60) | st.sampled_from(["a: &a [*a]", "? {a: 1}\n: 2", "a: {[1]: 2}", "- 1"])
)
def test_any_text_as_a_configuration(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("runs", numbered=True)
    run = write_run(root / "a")
    (run / "config.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    everything(root)


@given(
    st.sampled_from(
        [(), ("steps",), ("steps", "check"), ("steps", "check", "seconds"), ("recipe",)]
    ),
    json_values(),
)
def test_any_summary_of_a_pipeline(tmp_path_factory, place, value):
    root = write_pipeline(tmp_path_factory.mktemp("runs", numbered=True) / "p")
    path = root / "summary.json"
    path.write_text(json.dumps(replaced(json.loads(path.read_text()), place, value)))
    everything(root.parent)


PANELS_AT = [(), ("class_names",), ("colors",), ("panels",), ("panels", 0), ("panels", 0, "box")]


@given(st.sampled_from(PANELS_AT), json_values(), st.integers(0, 5000))
def test_any_picture_of_a_run(tmp_path_factory, place, value, cut):
    """What a sheet says of its panels; and label maps that are cut short."""
    root = tmp_path_factory.mktemp("runs", numbered=True)
    sheet = write_sheet(write_run(root / "a"), 1)
    content = json.loads(sheet.info[PANELS])
    if place[:2] == ("panels", 0):
        first = replaced(content["panels"][0], place[2:], value)
        content["panels"][0] = first
    else:
        content = replaced(content, place, value)
    sheet.info[PANELS] = json.dumps(content)
    save_sheet(sheet, root / "a" / "pictures" / "val_epoch000.png")
    labels = write_run(root / "b", lr=2)
    write_labels(labels, 1)
    # To draw the images of its data set anew in each example would take long.
    text = (labels / "config.yaml").read_text()
    (labels / "config.yaml").write_text(text.replace("wsss_zoo.Shapes", "gone.Data"))
    for path in (root / "b" / "pseudo_labels").glob("*.png"):
        path.write_bytes(path.read_bytes()[: max(60, cut)])
    comparison = compare(find_runs([root]))
    found = collect_examples(comparison, 2)
    assert page(comparison, found).endswith("</html>\n")
