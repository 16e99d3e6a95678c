from tests.report.run_folders import write_run
from wsss_zoo.report.comparison import compare
from wsss_zoo.report.find_runs import find_runs
from wsss_zoo.report.page import page
from wsss_zoo.report.page.examples import Example, Examples, Picture


def test_photograph_and_truth_stand_once_in_the_page(tmp_path):
    for number in range(3):
        write_run(tmp_path / f"r{number}", lr=number)
    comparison = compare(find_runs([tmp_path]))
    photo, truth = Picture("data:photo", 20, 10), Picture("data:truth", 20, 10)
    preds = {place: Picture(f"data:{place}", 20, 10) for place in range(3)}
    examples = Examples([Example("x", photo, truth, preds)], runs=dict.fromkeys(preds, "r"))
    html = page(comparison, examples)
    assert [html.count(uri) for uri in ("data:photo", "data:truth", "data:1")] == [1, 1, 1]
    assert html.count('href="#photo0"') == 5
    assert html.count('<figure class="shot') == 5


def test_without_photograph_and_truth(tmp_path):
    write_run(tmp_path / "a")
    example = Example("x", None, None, {0: Picture("data:0", 20, 10)})
    examples = Examples([example], {0: "a"}, notes=["a: gone"])
    html = page(compare(find_runs([tmp_path])), examples)
    assert html.count('<figure class="shot') == 1
    assert "#photo" not in html
    assert "a: gone" in html
