"""Fill in equations, files and measured numbers on the pages when the site is built.

``$$ .. $$`` and ``$ .. $``
    LaTeX, as a block or inline. Converted to MathML, which browsers draw themselves.
``<!-- insert: file PATH -->``
    A file of the repository, as a block of code.
``<!-- insert: page PATH -->``
    A Markdown file of the repository without its links to files.
``<!-- insert: methods -->``, ``<!-- insert: labels -->``, ``<!-- insert: measured -->``
    The table of all methods; the labels that the page's method needs; its measured numbers.
``<!-- insert: recipes -->``
    Which recipe ``wsss-zoo train`` takes for which labels.
``<!-- insert: batches -->``
    The keys of each batch, from the contract.
``<!-- insert: api LAYER -->``
    All names that a layer of the package exports.
"""

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import latex2mathml.converter
from mkdocs.exceptions import PluginError

# mkdocs loads a hook by its path.
sys.path.insert(0, str(Path(__file__).parent))

from batch_table import batch_table
from method_table import ROOT, measured, methods_table, paper_scale
from recipe_table import recipe_table

# Code is left unchanged.
_EQUATION = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.S
)
_INSERT = re.compile(r"<!-- insert: (\w+) ?(.*?) -->")
_FILE_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?://|#)[^)]+\)")
_FOREIGN = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?((?:https?:)?//[^\" >]+)")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in a page."""
    inserts: dict[str, Callable[[str], str]] = {
        "file": _file,
        "page": _page,
        "methods": lambda _: methods_table("", "../results.md"),
        "measured": lambda _: _measured(page.meta),
        "labels": lambda _: str(page.meta["labels"]),
        "recipes": lambda _: recipe_table(),
        "batches": lambda _: batch_table(),
        "api": _api,
    }
    markdown = _INSERT.sub(lambda match: inserts[match[1]](match[2]), markdown)
    return _EQUATION.sub(_equation, markdown)


def _file(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8").rstrip()
    return f'```{Path(path).suffix[1:]} title="{path}"\n{text}\n```'


def _page(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    # Pictures stay: their files are beside the pages.
    text = text.replace("(../docs/images/", "(images/")
    return _FILE_LINK.sub(r"\1", _COMMENT.sub("", text))


def _api(layer: str) -> str:
    """One entry for each name that the layer exports, under the module that defines it.

    The path of the layer would be ambiguous: a function may have the name of its module.
    """
    tree = ast.parse((ROOT / "wsss_zoo" / layer / "__init__.py").read_text(encoding="utf-8"))
    homes = {
        name.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("wsss_zoo.")
        for name in node.names
    }
    shown = layer in ("functional", "modules")
    return "\n\n".join(
        f"::: {homes[name]}.{name}\n"
        f"    options: {{members: {str(shown or name.startswith('Base')).lower()}}}"
        for name in sorted(homes, key=str.lower)
    )


def _measured(head: dict[str, Any]) -> str:
    """List the measurements of the kept runs, and whether the paper's setting was run."""
    phrases = measured(head)
    lines = [f"* {phrase}" for phrase in phrases] or ["* no kept run yet"]
    if "rows" in head and phrases:
        lines.append(
            "* signed numbers are differences in validation mIoU (points) to `Supervised`, "
            "continued from the same checkpoint on the same masks; mean over seeds"
        )
    lines.append(f"* at paper scale (`{head['config']}`): {paper_scale(head)}")
    return "\n".join(lines) + "\n\nData, commands, seeds and all rows: [Results](../results.md)."


def _equation(match: re.Match[str]) -> str:
    if match["code"]:
        return match["code"]
    if match["inline"]:
        # Within a span: Markdown takes a line that begins with <math> for a block.
        return f"<span>{latex2mathml.converter.convert(match['inline'])}</span>"
    mathml = latex2mathml.converter.convert(match["block"].strip(), display="block")
    return f'<div class="equation">{mathml}</div>'


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that loads anything from another server."""
    found = _FOREIGN.findall(output)
    if found:
        raise PluginError(f"{page.file.src_path} loads {', '.join(found)}; ship it or leave it out")
    return output
