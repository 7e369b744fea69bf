"""The import graph of the packages, and that its numbers would show a cycle or an upward import."""

import re
from collections import Counter
from xml.etree import ElementTree

from perf.import_graph import ImportGraph, cycles, main, package_of, read, svg


def test_no_import_points_up_and_none_is_in_a_cycle():
    graph = read()
    assert len(graph.imports) > 400
    assert {"orchestrator.cli", "orchestrator.store", "trainers", "evaluators.engines"} <= graph.layers.keys()
    assert graph.upward == graph.module_cycles == graph.package_cycles == []


def test_an_upward_import_and_cycles_are_found():
    imports = [("a.top.x", "a.low.y"), ("a.low.z", "a.top.x"), ("a.low.y", "a.low.z")]
    edges = Counter({("a.top", "a.low"): 1, ("a.low", "a.top"): 1})
    graph = ImportGraph(layers={"a.top": 0, "a.low": 1}, imports=imports, edges=edges)
    assert graph.upward == [("a.low.z", "a.top.x")]
    assert graph.module_cycles == [{"a.top.x", "a.low.y", "a.low.z"}]
    assert graph.package_cycles == [{"a.top", "a.low"}]
    assert svg(graph).count('stroke="red"') == 1
    assert cycles([("a", "b"), ("b", "c"), ("a", "c")]) == []


def test_a_module_belongs_to_the_package_with_the_longest_matching_name():
    packages = ["a", "a.b", "a.bc"]
    assert [package_of(module, packages) for module in ("a.b.x", "a.b", "a.bc.x", "a.d")] == ["a.b", "a.b", "a.bc", "a"]


def test_the_drawing_has_every_package_and_an_arc_for_each_edge(tmp_path, capsys):
    main(str(tmp_path / "graph.svg"))
    graph, drawing = read(), ElementTree.parse(tmp_path / "graph.svg")
    texts = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(texts) == sorted(graph.layers)
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}path"))) == len(graph.edges)
    assert re.search(r"cycles: 0 of modules, 0 of packages\nupward imports: 0\n$", capsys.readouterr().out)
