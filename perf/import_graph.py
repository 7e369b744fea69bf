"""The import graph by package: its numbers and a drawing, `make graph`.

    python -m perf.import_graph [file.svg]

Packages and their order are the layers of [tool.importlinter] in pyproject.toml. Imports inside functions and under
`TYPE_CHECKING` count like all others. An import points up if its package is a lower layer than the one that it imports.
"""

import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grimp
import networkx

SETTINGS = Path(__file__).parents[1] / "pyproject.toml"
ROW, ARC, LEFT = 44, 26, 220  # pixels: between packages, width of an arc for each row that it spans, end of the names


@dataclass(frozen=True, kw_only=True)
class ImportGraph:
    """Imports between modules, and how many of them there are between packages.

    `layers` maps a package to its layer, 0 at the top. `imports` has (importer, imported) modules. `edges` counts them
    by (package, package), without those inside a package.
    """

    layers: dict[str, int]
    imports: list[tuple[str, str]]
    edges: Counter[tuple[str, str]]

    @property
    def upward(self) -> list[tuple[str, str]]:
        """The imports of a package by a package of a lower layer, as (importer, imported) modules."""
        return [(one, other) for one, other in self.imports if self._layer(one) > self._layer(other)]

    @property
    def module_cycles(self) -> list[set[str]]:
        """The sets of modules that import each other in a circle."""
        return cycles(self.imports)

    @property
    def package_cycles(self) -> list[set[str]]:
        """The sets of packages that import each other in a circle."""
        return cycles(self.edges)

    def _layer(self, module: str) -> int:
        return self.layers[package_of(module, self.layers)]


def cycles(edges: Iterable[tuple[str, str]]) -> list[set[str]]:
    """The strongly connected components of more than one node."""
    return [c for c in networkx.strongly_connected_components(networkx.DiGraph(list(edges))) if len(c) > 1]


def package_of(module: str, packages: Iterable[str]) -> str:
    """The package in which a module lies: the longest name that the module's name starts with."""
    return max((p for p in packages if f"{module}.".startswith(f"{p}.")), key=len)


def read(settings: Path = SETTINGS) -> ImportGraph:
    """The graph of the packages that a pyproject.toml names; they must be importable."""
    linter = tomllib.loads(settings.read_text())["tool"]["importlinter"]
    rows = [re.split(r"\s*[|:]\s*", row) for row in linter["contracts"][0]["layers"]]
    roots = linter["root_packages"]
    # The __init__ of a package with layers is below them all: they may import it, and it may import none of them.
    layers = {root: len(rows) for root in roots} | {p: number for number, row in enumerate(rows) for p in row}
    found = grimp.build_graph(*roots, exclude_type_checking_imports=False, cache_dir=None)
    imports = [(one, other) for one in sorted(found.modules) for other in found.find_modules_directly_imported_by(one)]
    between = Counter((package_of(one, layers), package_of(other, layers)) for one, other in imports)
    edges = Counter({edge: n for edge, n in between.items() if edge[0] != edge[1]})
    used = {package_of(module, layers) for module in found.modules if len(found.find_children(module)) == 0}
    return ImportGraph(layers={p: n for p, n in layers.items() if p in used}, imports=imports, edges=edges)


def svg(graph: ImportGraph) -> str:
    """Packages in a column from top to bottom; an arc for each edge, thicker with its imports, red if it points up."""
    names = sorted(graph.layers, key=lambda package: graph.layers[package])
    y = {name: ROW * (row + 1) for row, name in enumerate(names)}
    x, arcs = LEFT + 10, []
    for (one, other), count in graph.edges.items():
        colour = "red" if graph.layers[one] > graph.layers[other] else "steelblue"
        bend = x + abs(y[other] - y[one]) // ROW * ARC
        arcs.append(
            f'<path d="M{x},{y[one]} C{bend},{y[one]} {bend},{y[other]} {x},{y[other]}" fill="none" stroke="{colour}" '
            f'stroke-width="{min(1 + count / 4, 6)}" opacity="0.6"><title>{one} imports {other}: {count}</title></path>'
        )
    texts = [f'<text x="{LEFT}" y="{y[name] + 5}" text-anchor="end">{name}</text>' for name in names]
    width, height = LEFT + ARC * len(names), ROW * (len(names) + 1)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *arcs, *texts, "</svg>", ""])


def main(file: str = "import_graph.svg") -> None:
    """Print the numbers and write the drawing."""
    graph = read()
    Path(file).write_text(svg(graph))
    modules = {module for edge in graph.imports for module in edge}
    print(f"{len(modules)} modules with {len(graph.imports)} imports of each other")
    print(f"{len(graph.layers)} packages with {len(graph.edges)} edges: {file}")
    print(f"cycles: {len(graph.module_cycles)} of modules, {len(graph.package_cycles)} of packages")
    print(f"upward imports: {len(graph.upward)}")
    for one, other in graph.upward:
        print(f"  {one} imports {other}")


if __name__ == "__main__":
    main(*sys.argv[1:])
