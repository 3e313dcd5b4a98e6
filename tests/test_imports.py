"""Imports go one way: from the models down to the backend, imports inside functions included."""

import ast
import graphlib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = [  # folders and files of minitensor/, from the ground; modules on one floor do not import each other
    ("backend",),
    ("engine",),
    ("ops",),
    ("files", "linalg", "optim", "pages", "random"),
    ("distributed", "graphs", "profiling", "recompute", "tracing", "transforms"),
    ("testing",),
    ("nn",),
    ("diagnosis",),
    ("__init__",),
    ("health",),
    ("__main__",),
    ("models",),
]


def modules(folder, above=()):
    """The modules under ``folder`` by name, with their files; their names begin with ``above``."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = (*above, *path.relative_to((ROOT / folder).parent).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


# The models as Python finds them: see minitensor/models.py.
LIBRARY = modules("minitensor") | modules("models", above=("minitensor",))
EXAMPLES = modules("examples/toolkit") | modules("examples/claims")
EXAMPLES |= {path.stem: path for path in sorted((ROOT / "examples").glob("*.py"))}


# What nothing in the library or the examples imports: the models by their folder's name, and tests.
NEVER = {"models", "tests", "table", "benchmarks"}


def name_of(function):
    """The name of a function that is called, whether it stands alone or behind a module."""
    return getattr(function, "attr", getattr(function, "id", ""))


@cache
def importing(path):
    """All that may import something in a file, which is parsed once for all tests."""
    kinds = ast.Import, ast.ImportFrom, ast.Call
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)]


def imports(path, known):
    """The modules of ``known`` that a file imports, anywhere in it."""
    wanted = set()
    for node in importing(path):
        if isinstance(node, ast.Import):
            wanted.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            wanted.update(name if name in known else node.module for name in names)
        elif name_of(node.func) in ("import_module", "__import__"):
            wanted.update(argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))
    strange = {name for name in wanted if name.partition(".")[0] in NEVER}
    assert not strange, f"{path} imports {strange}"
    return {name for name in wanted if name in known and known[name] != path}


def graph(known):
    """What each of the modules imports."""
    return {name: imports(path, known) for name, path in known.items()}


@pytest.mark.parametrize("known", [LIBRARY, EXAMPLES], ids=["library", "examples"])
def test_no_import_leads_back_to_where_it_began(known):
    arrows = graph(known)
    assert len(arrows) > 30 and sum(map(len, arrows.values())) > 60
    graphlib.TopologicalSorter(arrows).prepare()  # CycleError names the circle


def room(module):
    """The folder or file of minitensor/ in which a module lives."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_folders_stand_on_one_another():
    floor = {name: height for height, names in enumerate(FLOORS) for name in names}
    arrows = graph(LIBRARY)
    assert {room(module) for module in arrows} == set(floor)
    wrong = [
        f"{module} imports {other}"
        for module, others in arrows.items()
        for other in others
        if room(module) != room(other) and floor[room(other)] >= floor[room(module)]
    ]
    assert not wrong


def test_the_library_knows_no_example():
    for path in LIBRARY.values():
        assert not imports(path, EXAMPLES), path


@pytest.mark.parametrize(
    "line",
    [
        "import minitensor.nn", "from minitensor import nn", "from minitensor.nn.functional import softmax",
        "def f():\n    import minitensor.nn.layers", "import importlib\nimportlib.import_module('minitensor.nn')",
        "from importlib import import_module\nimport_module('minitensor.nn')", "__import__('minitensor.nn')",
    ],
)  # fmt: skip
def test_every_kind_of_import_is_seen(line, tmp_path):
    (tmp_path / "planted.py").write_text(line, encoding="utf-8")
    assert {room(name) for name in imports(tmp_path / "planted.py", LIBRARY)} == {"nn"}


@pytest.mark.parametrize("line", ["from models.gpt import GPT", "from table import row", "import tests.conftest"])
def test_what_nothing_may_import_is_refused(line, tmp_path):
    (tmp_path / "planted.py").write_text(line, encoding="utf-8")
    with pytest.raises(AssertionError, match="planted.py imports"):
        imports(tmp_path / "planted.py", LIBRARY)
