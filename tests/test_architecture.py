"""The import graph of the package has no cycles; layers are checked by import-linter (`make lint`)."""

from __future__ import annotations

import graphlib

import grimp


def test_no_import_cycles() -> None:
    graph = grimp.build_graph("kinema")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    order = list(graphlib.TopologicalSorter(imports).static_order())
    assert set(order) >= set(graph.modules)
