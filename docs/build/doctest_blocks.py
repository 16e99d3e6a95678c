"""Makes code blocks of the doctests that docstrings hold between their paragraphs."""

import re
from typing import Any

from griffe import Extension, Object

_DOCTEST = re.compile(r"(?m)^>>> .*(?:\n(?!\s*$).*)*")


class DoctestBlocks(Extension):
    """Fences doctests: Markdown takes ``>>>`` for a quotation."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(
                lambda match: f"```python\n{match[0]}\n```", obj.docstring.value
            )
