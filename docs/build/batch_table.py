"""Write the table of batches from the types of the contract."""

from typing import Annotated, Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

from wsss_zoo.contract import BATCHES


def batch_table() -> str:
    """Write one row per key of each batch, with the keys of nested batches."""
    lines = ["| batch | key | value |", "| --- | --- | --- |"]
    for name, kind in BATCHES.items():
        rows = _rows(kind, "")
        title = f"`{name}`" if name != "evaluation" else name
        firsts = [title] + [""] * (len(rows) - 1)
        lines += [f"| {first} | {row} |" for first, row in zip(firsts, rows, strict=True)]
    return "\n".join(lines)


def _rows(kind: type, outer: str) -> list[str]:
    rows: list[str] = []
    own = get_type_hints(kind, include_extras=True)
    for key, hint in own.items():
        value, about, optional = _described(hint)
        rows.append(f"`{outer}{key}` | {about}{' (optional)' if optional else ''}")
        is_new = is_typeddict(value) and value not in BATCHES.values()
        if is_new and value.__annotations__.keys() - own.keys():
            rows += _rows(value, f"{outer}{key}.")
    return rows


def _described(hint: Any) -> tuple[Any, str, bool]:
    """Return the type of a key, its description, and whether it may be missing."""
    optional = get_origin(hint) is NotRequired
    annotated = get_args(hint)[0] if optional else hint
    assert get_origin(annotated) is Annotated, f"say what {annotated} is"
    value, about = get_args(annotated)
    return value, about, optional
