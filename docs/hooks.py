"""Pages of the site that lie outside docs/, and links between pages as GitHub has them: relative to
the file in the repository.

The pages of the lessons are made by running these, so that what a page shows is what its code
prints and draws.
"""

import atexit
import functools
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
}
ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
ROOT_PAGES |= {f"lessons/{lesson.name}": f"lessons/{lesson.name[:2]}.md" for lesson in LESSONS}
SOURCES = {page: source for source, page in ROOT_PAGES.items()}


@event_priority(50)  # before mkdocstrings looks where to read
def on_config(config):
    """Show the API reference the package as a wheel has it, with the models in it: it reads files,
    and does not run ``models.py``.
    """
    root, installed = Path(config.docs_dir).parent, Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, installed, ignore_errors=True)
    shutil.copytree(root / "minitensor", installed / "minitensor", ignore=shutil.ignore_patterns("models.py", "models"))
    shutil.copytree(root / "models", installed / "minitensor" / "models")
    for entry in config.nav:
        if "Lessons" in entry:
            entry["Lessons"] += [{_title(lesson): ROOT_PAGES[f"lessons/{lesson.name}"]} for lesson in LESSONS]
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(installed)]
    return config


def on_files(files, config):
    """Add the pages that lie outside docs/, and those of the lessons with their pictures."""
    root = Path(config.docs_dir).parent
    for source, page in ROOT_PAGES.items():
        if not source.endswith(".py"):
            files.append(File.generated(config, page, abs_src_path=str(root / source)))
    texts = tuple(path.read_text(encoding="utf-8") for path in sorted((ROOT / "lessons").rglob("*.py")))
    for path in _built(texts):
        files.append(File.generated(config, f"lessons/{path.name}", abs_src_path=str(path)))
    return files


def _title(lesson):
    """The heading of a lesson, with its number: its second line is ``# # 7. A title``."""
    return lesson.read_text(encoding="utf-8").splitlines()[1].removeprefix("# # ")


@functools.lru_cache(maxsize=1)  # run again by ``mkdocs serve`` only if the texts have changed
def _built(texts):
    """The pages and pictures of the lessons, which run in a process of their own."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-m", "lessons", "build", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return sorted((*folder.glob("*.md"), *folder.glob("*.png")))


def on_page_markdown(markdown, page, **_):
    """Turn links between files of the repository into links between pages."""
    here = page.file.src_uri
    if here.startswith("lessons/") and here != "lessons/index.md":
        page.meta["hide"] = ["toc"]  # code is up to a hundred letters wide
    source = SOURCES.get(here, f"docs/{here}")

    def link(match):
        target, anchor = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1])), match[2] or ""
        target = ROOT_PAGES.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(target, posixpath.dirname(here) or '.')}{anchor})"

    return re.sub(r"\]\((?!\w+:|#|/)([^)#\s]+)(#[^)\s]*)?\)", link, markdown)


def on_page_content(html, page, files, **_):
    """Mark pictures that are wide, for the style of a phone: a PNG says its size in its head."""
    folder = posixpath.dirname(page.file.src_uri)

    def picture(match):
        file = files.get_file_from_path(posixpath.normpath(posixpath.join(folder, match[1])))
        head = Path(file.abs_src_path).read_bytes()[:24] if file and file.abs_src_path else b""
        width, height = (int.from_bytes(head[i : i + 4], "big") for i in (16, 20))
        return match[0].replace("<img", '<img class="wide"', 1) if width > 1.7 * height else match[0]

    return re.sub(r'<img [^>]*src="([^"]+\.png)"[^>]*>', picture, html)
