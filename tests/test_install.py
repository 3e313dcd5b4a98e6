"""A clone, an editable install, a wheel: each has `minitensor` and `minitensor.models`, one class
under one name, and no `models`.

Nothing is downloaded: the environments are new, but for NumPy and the like they look where this one
has them.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "minitensor",
    "models",
    "examples",
    "pytest_minitensor.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
)
SCRIPTS = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
INSTALLS = ("editable", "wheel")
SITE = Path(np.__file__).resolve().parents[1]  # where the other packages are installed


def packages(folder, name):
    """The names of the packages in ``folder``, which is imported as ``name``."""
    inner = (path.parent.relative_to(folder).parts for path in folder.rglob("__init__.py"))
    return {".".join((name, *parts)) for parts in inner}


def test_every_package_is_listed():
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = project["tool"]["setuptools"]["packages"]
    assert listed == sorted(
        packages(ROOT / "minitensor", "minitensor") | packages(ROOT / "models", "minitensor.models")
    )


def test_it_says_that_it_is_typed_if_it_is():
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    says = "Typing :: Typed" in project["project"]["classifiers"]
    assert says == (ROOT / "minitensor" / "py.typed").exists()


# --- environments ---------------------------------------------------------------------------------


def run(*command, cwd, path=()):
    """What a command prints, run in the folder ``cwd`` with its own PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the files that a clone has."""
    folder = tmp_path_factory.mktemp("clone")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A function that makes an environment without minitensor and returns its Python."""
    if (SITE / "minitensor").exists():
        pytest.skip(f"a minitensor is installed beside NumPy, in {SITE}")

    def make():
        folder = tmp_path_factory.mktemp("environment")
        venv.EnvBuilder(symlinks=os.name != "nt", with_pip=False).create(folder)
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
        (Path(own) / "outer.pth").write_text(f"{SITE}\n", encoding="utf-8")
        return python

    return make


@pytest.fixture(scope="module")
def bare(fresh):
    """The Python of an environment that stays without minitensor."""
    return fresh()


@pytest.fixture(scope="module")
def pip(checkout):
    """A function that calls pip by a Python, without index and configuration."""
    for needed in ("pip", "setuptools"):
        if not (SITE / needed).is_dir():
            pytest.skip(f"there is no {needed} in {SITE}")

    def call(python, command, *arguments):
        options = "--no-index --no-build-isolation --no-deps --quiet --disable-pip-version-check".split()
        return run(python, "-m", "pip", "--isolated", command, *options, *arguments, cwd=checkout)

    return call


@pytest.fixture(scope="module")
def wheel(checkout, pip, bare, tmp_path_factory):
    """The wheel of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip(bare, "wheel", "--wheel-dir", folder, checkout)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module", params=["clone", *INSTALLS])
def kind(request):
    """How minitensor came to be there."""
    return request.param


@pytest.fixture(scope="module")
def python(kind, checkout, fresh, request):
    """The Python of a new environment with minitensor, and the PYTHONPATH by which that
    finds it.
    """
    made = fresh()
    if kind == "clone":
        return made, [checkout]
    pip = request.getfixturevalue("pip")
    what = ["--editable", checkout] if kind == "editable" else [request.getfixturevalue("wheel")]
    pip(made, "install", "--no-compile", "--ignore-installed", *what)  # what is imported is compiled then
    return made, []


# --- what is there --------------------------------------------------------------------------------

ONE_GPT = """
import pickle
import sys

import minitensor as mt
import minitensor.models.gpt
from minitensor.models import gpt
from minitensor.models.gpt import GPT, GPTConfig

assert GPT is gpt.GPT is minitensor.models.gpt.GPT is pickle.loads(pickle.dumps(GPT))
assert GPT.__module__ == "minitensor.models.gpt"

model = GPT(GPTConfig(vocab_size=7, max_length=8, d_model=8, n_layers=1, n_heads=2))
optimizer = mt.optim.SGD(model.parameters(), lr=0.1)
before = model.tokens.weight.numpy().copy()
model.loss(mt.asarray([[1, 2, 3, 4]])).backward()
optimizer.step()
assert (model.tokens.weight.numpy() != before).any()

same = [name for name, module in sys.modules.items() if getattr(module, "__file__", None) == gpt.__file__]
assert same == ["minitensor.models.gpt"] and "models" not in sys.modules
print(gpt.__file__)
"""
NO_MODELS = """
try:
    import models
except ModuleNotFoundError:
    pass
else:
    raise AssertionError(models.__file__)
"""


def test_one_gpt_under_one_name(kind, python, checkout, tmp_path):
    program, path = python
    found = run(program, "-c", ONE_GPT + (NO_MODELS if kind != "clone" else ""), cwd=tmp_path, path=path).strip()
    home = program.parents[1] if kind == "wheel" else checkout / "models"
    assert home.resolve() in Path(found).resolve().parents


def test_one_gpt_in_the_root_of_a_clone(bare, checkout):
    found = Path(run(bare, "-c", ONE_GPT, cwd=checkout).strip())
    assert found.resolve().parent == (checkout / "models").resolve()


@pytest.mark.parametrize("statement", ["import models", "from models.gpt import GPT"])
def test_models_is_refused_where_the_folder_could_be_found(statement):
    code = f"try:\n {statement}\nexcept ImportError as error:\n print(error)"
    assert "write `from minitensor.models.gpt import GPT`" in run(sys.executable, "-c", code, cwd=ROOT)


def test_every_model_has_a_stub_in_a_checkout():
    """Checkers and editors do not run models.py, which says to Python where the models are."""
    folder = ROOT / "minitensor" / "models"
    stubs = {path.relative_to(folder).with_suffix(""): path.read_text("utf-8") for path in folder.rglob("*.pyi")}
    assert set(stubs) == {path.relative_to(ROOT / "models").with_suffix("") for path in (ROOT / "models").rglob("*.py")}
    for name in set(stubs) - {Path("__init__")}:
        module = ".".join(("models", *name.parts)).removesuffix(".__init__")
        assert stubs[name] == f"from {module} import *\n"
        assert "__all__" in (ROOT / "models" / name).with_suffix(".py").read_text("utf-8")


def test_a_wheel_holds_the_library_and_nothing_else(wheel, checkout):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"minitensor", "pytest_minitensor.py"}
    files = [path for path in (checkout / "minitensor").rglob("*.*") if path.suffix != ".pyc"]
    stubs = checkout / "minitensor" / "models"  # for a checkout alone
    files = [path for path in files if stubs not in path.parents]
    wanted = ["pytest_minitensor.py", *(path.relative_to(checkout).as_posix() for path in files)]
    models = [path for path in (checkout / "models").rglob("*.*") if path.suffix != ".pyc"]
    wanted += [f"minitensor/{path.relative_to(checkout).as_posix()}" for path in models]
    assert sorted(names) == sorted(wanted) and "minitensor/backend/cu/head.cu" in names


def test_a_source_distribution_makes_the_same_wheel(wheel, checkout, pip, bare, tmp_path):
    made = tmp_path / "made"
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(bare, "-c", build, made, cwd=checkout)
    (packed,) = made.iterdir()
    with tarfile.open(packed) as file:
        assert not [name for name in file.getnames() if "/tests/" in name]
    pip(bare, "wheel", "--wheel-dir", tmp_path, packed)
    (again,) = tmp_path.glob("*.whl")
    contents = [{info.filename: info.CRC for info in zipfile.ZipFile(file).infolist()} for file in (wheel, again)]
    assert contents[0] == contents[1] and again.name == wheel.name


# --- beside the files of a person -----------------------------------------------------------------

OWN = """
import pickle
import models
from minitensor.models.gpt import GPT
import minitensor.models
assert models.MINE == 1 and models.__name__ == "models" and models is not minitensor.models
assert pickle.loads(pickle.dumps(models.Model)) is models.Model and pickle.loads(pickle.dumps(GPT)) is GPT
"""
TINY = "--d-model 8 --hidden 8 --epochs 1 --out run".split()


@pytest.fixture
def folder(tmp_path):
    """A folder of somebody who has a models.py."""
    (tmp_path / "models.py").write_text("MINE = 1\n\n\nclass Model:\n    pass\n", encoding="utf-8")
    words = (f"{word}\t{label}\n{word[::-1]}\t{label[::-1]}\n" for word, label in zip(SCRIPTS * 9, ["ab", "cd"] * 99))
    (tmp_path / "words.tsv").write_text("".join(words), encoding="utf-8")
    return tmp_path


def test_a_models_file_of_ones_own_is_ones_own(python, folder):
    program, path = python
    (folder / "script.py").write_text(OWN, encoding="utf-8")
    run(program, folder / "script.py", cwd=folder, path=path)


def test_an_example_copied_beside_it_runs(kind, python, checkout, folder):
    """From a clone the script alone, with the toolkit where that is; after an install all of the
    examples.
    """
    for needed in ("rich", "matplotlib"):
        pytest.importorskip(needed)
    program, path = python
    shutil.copytree(checkout / "examples", folder, dirs_exist_ok=True)
    if kind == "clone":
        shutil.rmtree(folder / "toolkit")
        path = [checkout / "examples"]
    run(program, "languages.py", "train", "--data", "words.tsv", *TINY, cwd=folder, path=path)
    assert (folder / "run" / "weights.safetensors").stat().st_size > 0
    (folder / "script.py").write_text("from toolkit import console\n" + OWN, encoding="utf-8")
    run(program, "script.py", cwd=folder, path=path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_runs_in_a_clone_from_anywhere(script, bare, tmp_path):
    assert f"python examples/{script}" in run(bare, ROOT / "examples" / script, "--help", cwd=tmp_path)
