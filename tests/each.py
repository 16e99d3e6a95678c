"""Cases of one test that need no names of their own."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any


def each(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[..., Callable[..., None]]:
    """Run a test on every case, as one test; a failure names its case.

    For seeds, sizes, precisions and lists of bad options. Where the name of a case tells what is
    broken (a method, a file format), `pytest.mark.parametrize` is better.

    Args:
        names: Arguments of the test: one name, or a tuple of names.
        cases: Values of the argument, or tuples of values. Fixtures are shared by all of them.
    """
    words = (names,) if isinstance(names, str) else names
    values = [dict(zip(words, _row(case, words), strict=True)) for case in cases]
    assert values, "there is no case"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def loop(**fixtures: Any) -> None:
            for case in values:
                try:
                    test(**fixtures, **case)
                except BaseException as error:
                    error.add_note(f"in the case {case}")
                    raise

        signature = inspect.signature(test)
        kept = [given for name, given in signature.parameters.items() if name not in words]
        loop.__signature__ = signature.replace(parameters=kept)
        return loop

    return decorate


def _row(case: Any, words: tuple[str, ...]) -> Any:
    return (case,) if len(words) == 1 else case
