"""Pages of the site that lie outside docs/, and links between pages as GitHub has them: relative to
the file in the repository.
"""

import atexit
import posixpath
import re
import shutil
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
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(installed)]
    return config


def on_files(files, config):
    """Add the pages that lie outside docs/."""
    root = Path(config.docs_dir).parent
    for source, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(root / source)))
    return files


def on_page_markdown(markdown, page, **_):
    """Turn links between files of the repository into links between pages."""
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")

    def link(match):
        target, anchor = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1])), match[2] or ""
        target = ROOT_PAGES.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(target, posixpath.dirname(here) or '.')}{anchor})"

    return re.sub(r"\]\((?!\w+:|#|/)([^)#\s]+)(#[^)\s]*)?\)", link, markdown)
