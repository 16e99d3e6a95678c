"""A set whose members are found out late."""

from collections.abc import Callable, Iterator, Set
from functools import cached_property


class LateSet(Set[str]):
    """A set that is made when it is first looked into.

    Lightning loads the checkpoint between ``setup`` and the request for a loader. What depends on
    the checkpoint, such as which images are done, can be handed over in ``setup`` all the same.

    Args:
        make: Gives the members; called once.

    >>> members = LateSet(lambda: {"a"})
    >>> "a" in members, len(members)
    (True, 1)
    """

    def __init__(self, make: Callable[[], set[str]]) -> None:
        self._make = make

    @cached_property
    def _members(self) -> set[str]:
        return self._make()

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)
