"""What every reader owes its user."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def read_or_refuse(
    read: Callable[[], T], name: object, kind: type[Exception] = ValueError
) -> T | None:
    """What a reader returns; None if it refuses the file in a message that names it.

    Any other exception than ``kind`` is the reader's fault, as is a message without the name.
    """
    try:
        return read()
    except kind as error:
        message = str(error)
    if str(name) not in message or len(message) < len(str(name)) + 15:
        problem = f"{name} is refused, but the message does not say so: {message!r}"
        raise AssertionError(problem)
    return None
