"""Example images on the page: the same image as every group labels it."""

from collections.abc import Sequence
from html import escape

from wsss_zoo.report.comparison import Comparison
from wsss_zoo.report.examples import Example, Examples, Picture


def examples_section(comparison: Comparison, examples: Examples, colored: Sequence[int]) -> str:
    """Images side by side, or what to do so that there are some."""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in examples.notes)
    if not examples.images and not examples.sheets:
        return (
            "<p>No pictures: none of these runs has any. validate and test draw them "
            "(<code>--visualizer.num_images 4</code>), predict writes label maps.</p>" + notes
        )
    parts = [notes]
    if examples.images:
        parts.append(
            "<p>One run of each group. Pointing at a label map, or touching it, shows the truth in "
            "its place.</p>"
            '<div class="control" hidden><label for="mix">photograph</label>'
            '<input type="range" id="mix" min="0" max="100" value="65"><span>labels</span></div>'
        )
        entries = "".join(
            f'<li><i style="background:rgb({r},{g},{b})"></i>{escape(name)}</li>'
            for name, (r, g, b) in examples.legend
        )
        parts.append(f'<ul class="legend">{entries}</ul>')
        for number, example in enumerate(examples.images):
            parts.append(_image(number, example, comparison, examples, colored))
    if examples.sheets:
        parts.append(_sheets(comparison, examples))
    return "".join(parts)


def _image(
    number: int,
    example: Example,
    comparison: Comparison,
    examples: Examples,
    colored: Sequence[int],
) -> str:
    """A row of one image; the photograph and the truth stand once in the page and are reused."""
    size = next(iter(example.preds.values()))
    shared = []
    if example.photo:
        shared.append(_image_tag(example.photo, size, f'id="photo{number}"'))
    if example.truth:
        shared.append(_image_tag(example.truth, size, f'id="truth{number}"'))
    hidden = (
        f'<svg width="0" height="0" style="position:absolute"><defs>{"".join(shared)}</defs></svg>'
    )
    photo = f'<use href="#photo{number}"/>' if example.photo else ""
    truth = f'<use href="#truth{number}"' if example.truth else ""
    shots = []
    if photo:
        shots.append(_shot(size, photo, f"image {example.image_id}"))
    if truth:
        shots.append(_shot(size, f'{photo}{truth} class="mix"/>', "truth"))
    for place, label in example.preds.items():
        drawn = photo + _image_tag(label, size, 'class="mix"')
        drawn += f'{truth} class="peek"/>' if truth else ""
        color = f"c{colored.index(place)}" if place in colored else ""
        name = comparison.groups[place].name
        extra = f' tabindex="0" data-g="{place}" title="{escape(examples.runs[place], quote=True)}"'
        kind = f"{color} has" if truth else color
        shots.append(_shot(size, drawn, name, kind, extra, swatch=True))
    return f'{hidden}<div class="shots">{"".join(shots)}</div>'


def _shot(
    size: Picture, drawn: str, text: str, kind: str = "", extra: str = "", *, swatch: bool = False
) -> str:
    dot = '<i class="sw"></i>' if swatch else ""
    return (
        f'<figure class="shot {kind}"{extra}><svg viewBox="0 0 {size.width} {size.height}" '
        f'role="img" aria-label="{escape(text, quote=True)}">{drawn}</svg>'
        f"<figcaption>{dot}{escape(text)}</figcaption></figure>"
    )


def _image_tag(picture: Picture, size: Picture, attributes: str) -> str:
    return (
        f'<image {attributes} width="{size.width}" height="{size.height}" '
        f'preserveAspectRatio="none" href="{picture.uri}"/>'
    )


def _sheets(comparison: Comparison, examples: Examples) -> str:
    figures = "".join(
        f'<figure class="sheet"><figcaption>{escape(comparison.groups[place].name)} '
        f'<small>{escape(examples.runs[place])}</small></figcaption><img alt="" '
        f'src="{sheet.uri}" width="{sheet.width}" height="{sheet.height}"></figure>'
        for place, sheet in examples.sheets.items()
    )
    return (
        "<p>Sheets of runs of an earlier version, as they are; validate draws them again.</p>"
        f'<div class="grid2">{figures}</div>'
    )
