"""Nothing that comes from runs becomes an element or an attribute of the page."""

import functools
import json
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
import yaml

from tests.report.page.test_examples import label, write_sheet
from tests.report.run_folders import config, write_results, write_run
from wsss_zoo.cli import main
from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import write_label

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "</title></style></script><b>",
    "]]><svg onload=alert(1)>",
    "javascript:alert(1)",
    "&lt;b&gt;&#60;",
    "<!-- -->",
    "{{ 7 * 7 }}",
]


class Reader(HTMLParser):
    """Elements with the names of their attributes, addresses, and all text."""

    def __init__(self, page):
        super().__init__()
        self.elements = Counter()
        self.addresses, self.text, self.values = set(), [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements[tag, tuple(name for name, _ in attrs)] += 1
        self.values += [value or "" for _, value in attrs]
        self.addresses |= {value for name, value in attrs if name in ("href", "src")}

    def handle_data(self, data):
        self.text.append(data)

    def handle_comment(self, data):
        self.elements["comment", ()] += 1

    def handle_decl(self, decl):
        self.elements["declaration", ()] += 1


def page_of(root, text, baseline=True):
    """The page of two runs and a stage that have a text in everything that is free text."""
    names = ["background", f"cat {text}", f"dog {text}"]
    safe = text.replace("/", ":")
    for place, run in enumerate(("a", "b")):
        folder = write_run(
            root / f"{run} {safe}", miou=0.4 + place / 10, names=names, lr=place, note=text
        )
        settings = config(lr=place, note=f"{place} {text}")
        settings["model"]["class_path"] = f"pack.{run} {text}"
        settings[f"key {text}"] = place
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        lines = ["epoch,step,train/loss,val/miou", *(f"0,{s},{s},{s / 40}" for s in (9, 19, 39))]
        lines[0] += f',"val/{text.replace(chr(34), chr(34) * 2)}"'
        lines[1:] = [f"{line},0.5" for line in lines[1:]]
        (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
        write_results(folder, 0.4 + place / 10, names, f"{run} {text}")
        write_sheet(folder, 1 + place, ids=(f"one {text}", f"two {text}"), names=names)
        (folder / "test_results.json").write_text("damaged " + text)
    labels = root / f"c {safe}"
    write_run(labels, names=names, lr=3)
    write_label(labels / "pseudo_labels", f"one {safe}", label(1))
    manifest = Manifest("CAM", names, 1, "", "", {}, "train")
    write_manifest(labels / "pseudo_labels", manifest)
    stage = root / "pipeline" / f"stage {safe}"
    write_run(stage, names=names, lr=4)
    steps = {stage.name: {"seconds": 1.0, "command": text}}
    summary = {"recipe": f"recipe {text}", "steps": steps, "report": {text: 0.5}}
    (stage.parent / "summary.json").write_text(json.dumps(summary))
    out = root.parent / f"{root.name}.html"
    args = ["--html", str(out), "--metric", "val/miou", "--metric", f"val/{text}"]
    args += ["--baseline", f"a {safe}"] if baseline else []
    assert main(["compare", str(root), *args]) == 0
    return Reader(out.read_text())


@pytest.fixture(scope="module")
def harmless_page(tmp_path_factory):
    """The page of a text of letters; slashes and colons in names of metrics mean something."""

    @functools.cache
    def of(kept):
        return page_of(tmp_path_factory.mktemp("harmless") / "x", f"x{kept}x")

    return lambda text: of(re.sub(r"[^/:]+", "x", text).strip("x"))


@pytest.mark.parametrize("text", HOSTILE)
def test_elements_and_attributes_are_the_same_with_any_text(text, tmp_path, harmless_page):
    hostile = page_of(tmp_path / "hostile", text)
    harmless = harmless_page(text)
    assert hostile.elements == harmless.elements
    assert hostile.elements["script", ()] == 1
    assert not any(name.startswith("on") for _, names in hostile.elements for name in names)
    assert all(address.startswith(("#", "data:image/")) for address in hostile.addresses)
    # It is there: as text, and as the value of an attribute that only shows it.
    assert text in "".join(hostile.text)
    assert any(text in value for value in hostile.values)
