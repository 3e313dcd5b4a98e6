"""Pages of the site that lie outside docs/, and links between pages as GitHub has them: relative to the file in the repository."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
}
SOURCES = {page: source for source, page in ROOT_PAGES.items()}


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
