import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from tests.report.page.test_examples import write_sheet
from tests.report.run_folders import page_of, write_pipeline, write_results, write_run
from tests.report.test_comparison import write_family

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "\"><script>document.title='stolen'<script><img src=x onerror=1>"
_VOID = {"meta", "input", "img", "wbr", "br"}


class Checker(HTMLParser):
    """Tags that are closed as they were opened, and what could load something."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.loaded, self.scripts = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "srcset", "action") and not value.startswith("#"):
                self.loaded.append(value)
            assert not name.startswith("on"), name
        self.scripts += tag == "script"
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(html):
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert all(address.startswith("data:image/") for address in checker.loaded)
    assert checker.scripts == 1
    assert "http" not in re.sub("Made by.*?</code>|http-equiv", "", html)
    return html


@pytest.fixture
def everything(tmp_path):
    root = write_family(tmp_path / "runs")
    for run, value in (("base/seed0", 1), ("ours/seed0", 2)):
        write_sheet(root / run, value)
    write_pipeline(root / "pipe" / "seed0")
    write_run(root / "stopped", "CAM", steps=10, results=False)
    return root


def test_the_page_holds_everything(everything):
    html = checked(page_of(everything, baseline="base"))
    for text in (
        "9 runs in 5 groups", "<b>55.7</b>", "<b>+6.0</b>", "-0.6 to +12.6", "IoU on val",
        "truth ↓ prediction →", "image one", "stopped: not finished", "pipe/teacher",
    ):  # fmt: skip
        assert text in html, text


def test_the_policy_lets_only_the_pages_own_script_run(everything):
    html = page_of(everything)
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html


def hostile_run(root):
    run = write_run(
        root / HOSTILE.replace("/", ""), "CPS", names=["background", HOSTILE], note=HOSTILE
    )
    write_sheet(run, 1, ids=(HOSTILE, "b"), names=["background", HOSTILE])
    (run / "metrics.csv").write_text(f'step,"{HOSTILE.replace(chr(34), "")}"\n0,1\n39,2\n')
    write_run(root / "b", "FixMatch", note="x")
    return run


def test_what_comes_from_runs_is_escaped(tmp_path):
    hostile_run(tmp_path)
    html = checked(page_of(tmp_path, baseline="CPS"))
    assert "<script>document" not in html
    assert "<img src=x" not in html


def test_without_anything_to_show(tmp_path):
    folder = write_run(tmp_path / "a", results=False)
    (folder / "metrics.csv").unlink()
    html = checked(page_of(tmp_path))
    for text in ("No pictures", "No run has a metric", "No run has a confusion", "no metrics"):
        assert text in html


def test_settings_that_differ(tmp_path):
    write_run(tmp_path / "a", "CPS", lr=0.1, cps_weight=1.5)
    write_run(tmp_path / "b", "FixMatch", lr=0.2, conf_thresh=0.9)
    html = checked(page_of(tmp_path))
    assert "<code>model.lr</code>" in html
    # Only one of the methods has it: no difference in a setting.
    assert "cps_weight" not in html


def rendered(path, tmp_path, width):
    """What a browser makes of the page in a window of some width."""
    probe = tmp_path / "probe.html"
    probe.write_text(
        f"<iframe id=f width={width} height=800 srcdoc='{_attribute(path.read_text())}'></iframe>"
        "<script>onload=()=>{const d=f.contentDocument,r=d.documentElement;"
        "document.body.innerHTML='<pre>'+JSON.stringify({ready:r.dataset.ready,title:d.title,"
        "wide:r.scrollWidth,shown:[...d.querySelectorAll('[data-matrix]')].filter(e=>!e.hidden)"
        ".length,rows:d.querySelectorAll('.main tbody tr').length,"
        "bad:[...d.querySelectorAll('svg text')].filter(e=>/NaN|undefined/.test(e.textContent))"
        ".length})+'</pre>'}</script>"
    )
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
        f"--user-data-dir={tmp_path / 'profile'}", probe.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return json.loads(re.search(r"<pre>(.*?)</pre>", done.stdout)[1])


def _attribute(text):
    return text.replace("&", "&amp;").replace("'", "&#39;")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 320])
def test_in_a_browser(tmp_path, everything, width):
    hostile_run(everything)
    many = ["background", *(f"a rather long class name {number}" for number in range(20))]
    for number in range(9):
        name = f"another rather long name of a group {number}"
        write_results(write_run(everything / name, "UniMatch", lr=number), 0.4, many)
    path = tmp_path / "report.html"
    path.write_text(page_of(everything, baseline="base"))
    found = rendered(path, tmp_path, width)
    assert found["ready"] == "yes"
    assert found["title"].endswith("runs compared")
    # Nothing sticks out to the right.
    assert found["wide"] <= width
    assert found["shown"] == 1
    assert found["rows"] == 16
    assert found["bad"] == 0
