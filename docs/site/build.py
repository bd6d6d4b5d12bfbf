"""The site of the docs, in .local/site/html: `build.py`, with what requirements.txt pins. REPOSITORY_URL: where links to sources lead.

The pages are copied, for a generator knows its own folder alone: links that lead out of docs/ (to sources, README.md, packages) go to
`REPOSITORY_URL`, or become plain text without one. All other links are checked: the build fails where one is broken.
"""

import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
SITE = REPOSITORY / ".local/site"
URL = os.environ.get("REPOSITORY_URL", "").rstrip("/")


def page(path):
    """A page's text with the links of the site."""
    folder = posixpath.dirname(f"docs/{path}")

    def link(found):
        text, target, anchor = found.groups()
        if re.match(r"\w+:", target):
            return found[0]
        to = posixpath.normpath(posixpath.join(folder, target))
        is_page = to.startswith("docs/") and to.endswith((".md", ".json")) and (REPOSITORY / to).is_file()
        if not target or is_page:
            return found[0]
        return f"[{text}]({URL}/blob/main/{to}{anchor or ''})" if URL else text

    # Links, but not within blocks of code.
    parts = re.split(r"(^ *```.*?^ *```)", (DOCS / path).read_text(), flags=re.M | re.S)
    link_of = re.compile(r"\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
    return "".join(part if index % 2 else link_of.sub(link, part) for index, part in enumerate(parts))


def main():
    shutil.rmtree(SITE, ignore_errors=True)
    for file in sorted(DOCS.rglob("*")):
        path = file.relative_to(DOCS)
        if path.parts[0] in ("site", "plans") or file.suffix not in (".md", ".json"):
            continue
        copy = SITE / "docs" / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(page(path.as_posix()) if file.suffix == ".md" else file.read_text())
    shutil.copy(DOCS / "site/mkdocs.yml", SITE / "mkdocs.yml")
    build = [Path(sys.executable).parent / "zensical", "build", "--strict", "--config-file", SITE / "mkdocs.yml"]
    return subprocess.run(build, cwd=SITE, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
