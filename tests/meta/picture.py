"""The layers' picture: `python -m tests.meta.picture` draws docs/explanation/layers.svg from the imports.

A box is a package, or a module beside the packages, with what its docstring says first. An arrow says that the upper
one imports from the lower one when the program runs; arrows that follow from others are left out. A box stands as low
as what it imports allows, so boxes side by side do not know each other.
"""

from __future__ import annotations

import textwrap
from html import escape

from tests.meta.layout import LAYERS, PATHS, ROOT, job, own_imports, package

PICTURE = ROOT / "docs" / "explanation" / "layers.svg"
WIDTH, HEIGHT, STEP, EDGE = 196, 56, 92, 12  # pixels
STYLE = (
    "svg{background:#fff} text{font:11px sans-serif;fill:#1f2328} .name{font:bold 13px monospace}"
    " rect{fill:#f6f8fa;stroke:#8c959f} path{fill:none;stroke:#57606a}"
)
TIP = (
    '<marker id="tip" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
    '<path d="M0 0L6 3L0 6z" style="fill:#57606a"/></marker>'
)


def arrows() -> dict[str, set[str]]:
    """Who imports from whom, without what follows from the rest; from the ground up."""
    direct: dict[str, set[str]] = {name: set() for layer in LAYERS for name in layer}
    for name, path in PATHS.items():
        direct[package(name)] |= {package(other) for other in own_imports(path)} - {package(name)}
    reach: dict[str, set[str]] = {}
    for name, others in direct.items():
        reach[name] = others.union(*(reach[other] for other in others))
    return {name: others.difference(*(reach[other] for other in others)) for name, others in direct.items()}


def rows(below: dict[str, set[str]]) -> list[list[str]]:
    """The boxes by height, the lowest row first."""
    height: dict[str, int] = {}
    for name, others in below.items():
        height[name] = 1 + max((height[other] for other in others), default=-1)
    return [[name for name in below if height[name] == number] for number in range(max(height.values()) + 1)]


def box(name: str, x: float, y: float) -> list[str]:
    """One box, with its name and the beginning of its docstring."""
    path = PATHS[f"trio_uwsgi.{name}".rstrip(".")]
    title = f"{name}/" if name and path.name == "__init__.py" else str(path.relative_to(ROOT / "trio_uwsgi"))
    said = job(path).replace("\n", " ").replace("`", "").removeprefix("serve: ")
    words = textwrap.wrap(said.split(". ")[0].split(": ")[0].rstrip("."), 29, max_lines=2, placeholder=" …")
    lines = [f'<rect x="{x:.0f}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>']
    lines.append(f'<text class="name" x="{x + 8:.0f}" y="{y + 18}">{title}</text>')
    lines += [f'<text x="{x + 8:.0f}" y="{y + 34 + 14 * n}">{escape(line)}</text>' for n, line in enumerate(words)]
    return lines


def draw() -> str:
    """The picture, as SVG."""
    below = arrows()
    levels = rows(below)
    widest = max(map(len, levels)) * (WIDTH + EDGE)
    place: dict[str, tuple[float, int]] = {}
    for number, level in enumerate(reversed(levels)):
        room = widest / len(level)
        for column, name in enumerate(level):
            place[name] = EDGE + room * (column + 0.5) - WIDTH / 2, EDGE + number * STEP
    lines = []
    for name, others in below.items():
        for number, other in enumerate(sorted(others, key=lambda other: place[other])):
            (x, y), (to_x, to_y) = place[name], place[other]
            start = x + WIDTH * (number + 1) / (len(others) + 1)
            above = sorted((above for above in below if other in below[above]), key=lambda above: place[above])
            end = to_x + WIDTH * (above.index(name) + 1) / (len(above) + 1)
            lines.append(f'<path d="M{start:.0f} {y + HEIGHT} L{end:.0f} {to_y - 1}" marker-end="url(#tip)"/>')
    lines += [line for name, (x, y) in place.items() for line in box(name, x, y)]
    size = f"{widest + EDGE} {2 * EDGE + STEP * (len(levels) - 1) + HEIGHT}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}"><style>{STYLE}</style><defs>{TIP}</defs>'
    return "\n".join([head, *lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw())
