"""Turn doctests between the paragraphs of docstrings into code blocks."""

import re
from typing import Any

from griffe import Extension, Object

_DOCTEST = re.compile(r"(?m)^>>> .*(?:\n(?!\s*$).*)*")


class DoctestBlocks(Extension):
    """Fences doctests, because Markdown reads ``>>>`` as a quotation."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(
                lambda match: f"```python\n{match[0]}\n```", obj.docstring.value
            )
