"""Durations in words, for progress and reports."""

import re


def duration(seconds: float) -> str:
    """Word a duration by its two largest units.

    >>> duration(3), duration(75), duration(7300), duration(200_000)
    ('3 s', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    rest = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


_SECONDS = {"d": 86_400, "h": 3600, "min": 60, "m": 60, "s": 1}
_PARTS = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)")


def parse_duration(text: str) -> float:
    """Read a duration in days, hours, minutes and seconds; in seconds.

    Raises:
        ValueError: If the text is no duration, or it is 0.

    >>> parse_duration("2h"), parse_duration("1h 30m"), parse_duration("0.5 d")
    (7200.0, 5400.0, 43200.0)
    """
    lower = text.strip().lower()
    parts = _PARTS.findall(lower)
    if not parts or _PARTS.sub("", lower).strip():
        raise ValueError(f"{text!r} is no duration; write 2h, 90min, 1h30m or 45s")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not seconds:
        raise ValueError(f"{text!r} is no time at all; write 2h, 90min, 1h30m or 45s")
    return seconds
