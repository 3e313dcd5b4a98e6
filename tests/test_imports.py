"""Imports go one way: from the face down to the backend, imports inside functions included."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = [  # folders and files of minitensor/, from the ground; what stands on one floor knows nothing of its neighbours
    ("backend",),
    ("engine",),
    ("ops",),
    ("files", "linalg", "optim", "random"),
    ("recompute",),
    ("testing",),
    ("nn",),
    ("__init__",),
]


def modules(*folders):
    """The modules under ``folders`` by name, with their files."""
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = (
                path.relative_to(ROOT if folder in ("minitensor", "models") else ROOT / "examples")
                .with_suffix("")
                .parts
            )
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path, known):
    """The modules of ``known`` that a file imports, anywhere in it."""
    wanted = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            wanted.update(name if name in known else node.module for name in names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            wanted.update(argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))
    return {name for name in wanted if name in known and known[name] != path}


def graph(*folders):
    """What each module under ``folders`` imports."""
    known = modules(*folders)
    return {name: imports(path, known) for name, path in known.items()}


@pytest.mark.parametrize("folders", [("minitensor", "models"), ("examples/toolkit", "examples/claims")], ids="+".join)
def test_no_import_leads_back_to_where_it_began(folders):
    arrows = graph(*folders)
    assert len(arrows) > 30 and sum(map(len, arrows.values())) > 60
    graphlib.TopologicalSorter(arrows).prepare()  # CycleError names the circle


def room(module):
    """The folder or file of minitensor/ in which a module lives."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_folders_stand_on_one_another():
    floor = {name: height for height, names in enumerate(FLOORS) for name in names}
    arrows = graph("minitensor")
    assert {room(module) for module in arrows} == set(floor)
    wrong = [
        f"{module} imports {other}"
        for module, others in arrows.items()
        for other in others
        if room(module) != room(other) and floor[room(other)] >= floor[room(module)]
    ]
    assert not wrong


def test_the_library_knows_no_model_and_a_model_no_example():
    for path in [*modules("minitensor").values(), *modules("models").values()]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            above = (
                ("toolkit", "claims")
                if "models" in path.parts
                else ("models", "minitensor.models", "toolkit", "claims")
            )
            assert not [name for name in names if name.startswith(above)], path
