import pytest

from tests.minimum_versions import PYPROJECT, minimum_versions

EXAMPLE = """
[project]
dependencies = ["torch>=2.9", "jsonargparse[signatures]>=4.53", "wandb>=0.20"]
[project.optional-dependencies]
dev = ["pydensecrf2>=1.1", "pytest>=8", "mypy>=1.14", "types-PyYAML", "wandb>=0.31", # a notebook
]
"""


def test_each_at_its_lower_bound():
    assert minimum_versions(EXAMPLE) == [
        "torch==2.9",
        "jsonargparse[signatures]==4.53",
        "wandb==0.20",
        "pydensecrf2==1.1",
        "pytest==8",
    ]


@pytest.mark.parametrize("requirement", ["torch", "torch==2.9", "torch>2.9", "torch>=2.9,<3"])
def test_what_has_no_plain_lower_bound(requirement):
    with pytest.raises(ValueError, match="has no lower bound; write name>=version"):
        minimum_versions(EXAMPLE.replace("torch>=2.9", requirement))


def test_every_import_of_the_package_is_a_dependency():
    """What another dependency happens to bring may be gone with its next version."""
    import ast
    import sys

    names = {"yaml": "pyyaml", "PIL": "pillow", "skimage": "scikit-image"}
    # Lightning, jsonargparse[signatures] and jinja2 bring these.
    names |= {"lightning_fabric": "", "docstring_parser": "", "markupsafe": ""}
    found = set()
    for path in (PYPROJECT.parent / "wsss_zoo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
    found -= {*sys.stdlib_module_names, "wsss_zoo"}
    bounds = minimum_versions(PYPROJECT.read_text(encoding="utf-8"))
    known = {bound.partition("==")[0].partition("[")[0] for bound in bounds}
    assert {names.get(name, name.replace("_", "-")) for name in found} - {""} <= known
