"""What the Markdown files say, held to what there is: `check.py`, and `check.py --stack` with a running stack's environment.

Without a stack, in a second or two: links and anchors, and each code block by its language. With one: the shell blocks of each page
are run from top to bottom as a reader pastes them, and SQL in a transaction that is rolled back. TypeScript is checked by
web/scripts/packed.mjs, which needs the packages. A block that is not run or checked says why in a comment above it:

    <!-- not run: it needs an AWS account -->       above `sh` or `sql`
    <!-- schema: openapi Event -->                  above `json`: a schema of docs/openapi.json, or `asyncapi NAME`: a message
    <!-- settings -->                               above `json`: its names are settings
    <!-- not checked: why -->                       above any other block
    <!-- types: declare const token: string; -->    above `ts`, `tsx` or `js`: what is there before it
"""

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_OURS = {"node_modules", "target", ".local", "dist", ".git", "test-results"}
LONGEST_README = 150
# Longer than any page takes: posts wait for a welcome and two follow-ups.
PATIENCE = 180

# Read by functions in another way than `Environment`, or by the AWS SDK.
OTHER_SETTINGS = {"SETTINGS", "LOG", "LOG_FORMAT", "METRICS_NAMESPACE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION",
                  "SSL_CERT_FILE"}
# Names of settings that only tests read.
NOT_SETTINGS = {"A_KEY", "MAX_MEMBRES"}
# Pages whose blocks a test in Rust reads: shared's `recipes`.
TESTED_ELSEWHERE = {"docs/recipes.md": "the test `recipes` asks each model and checks each token"}
TYPESCRIPT = {"ts", "tsx", "js"}


@dataclass
class Block:
    page: str
    line: int
    language: str
    text: str
    marks: dict

    def __str__(self):
        return f"{self.page}:{self.line}"

    @property
    def is_settings(self):
        """Lines of NAME=value, as an env file has them."""
        lines = self.text.strip().splitlines()
        return bool(lines) and all(re.match(r"[A-Z][A-Z0-9_]*=[^ $]*$", line) for line in lines)


@dataclass
class Page:
    path: str
    prose: str
    blocks: list

    @property
    def anchors(self):
        seen = Counter()
        anchors = set()
        for heading in re.findall(r"^#{1,6} +(.+?) *#*$", self.prose, re.M):
            slug = slug_of(heading)
            anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return anchors | set(re.findall(r'<a (?:id|name)="([^"]+)"', self.prose))


def slug_of(heading):
    """As GitHub makes an anchor of a heading."""
    heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    heading = re.sub(r"[*`]|<[^>]+>", "", heading)
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def page_of(path):
    """A file's prose (its blocks blanked, so that lines keep their numbers), and its blocks."""
    prose, blocks, marks, fence = [], [], {}, None
    for number, line in enumerate((REPOSITORY / path).read_text().splitlines(), 1):
        opening = re.match(r"^( *)(`{3,}|~{3,})\s*(\S*)", line)
        if fence:
            indent, ticks, block = fence
            if line.strip() == ticks:
                block.text = "\n".join(block.text) + "\n"
                fence, marks = None, {}
            else:
                block.text.append(line.removeprefix(indent))
            prose.append("")
        elif opening:
            indent, ticks, language = opening.groups()
            fence = (indent, ticks, Block(path, number, language, [], marks))
            blocks.append(fence[2])
            prose.append("")
        else:
            mark = re.match(r"^ *<!-- (not run|not checked|schema|types|settings):? ?(.*?) *-->$", line)
            marks = {**marks, mark[1]: mark[2]} if mark else {}
            prose.append(line)
    if fence:
        raise SystemExit(f"{fence[2]}: the block is not closed")
    return Page(path, "\n".join(prose), blocks)


@cache
def pages():
    found = []
    for directory, names, files in os.walk(REPOSITORY):
        names[:] = sorted(set(names) - NOT_OURS)
        found += [str((Path(directory) / file).relative_to(REPOSITORY)) for file in files if file.endswith(".md")]
    return {path: page_of(path) for path in sorted(found)}


def links(page):
    """(line, target) of every link of a page; what stands between back quotes is none."""
    for number, line in enumerate(page.prose.splitlines(), 1):
        line = re.sub(r"(`+).*?\1", lambda code: "x" * len(code[0]) if "](" in code[0] else code[0], line)
        for target in re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", line) + re.findall(r'(?:href|src)="([^"]+)"', line):
            yield number, target


def broken_links():
    for path, page in pages().items():
        for number, target in links(page):
            where = f"{path}:{number}: {target}"
            if re.match(r"(https?|mailto):", target):
                continue
            file, _, anchor = target.partition("#")
            if file.startswith("/"):
                yield f"{where} is not relative"
                continue
            to = (REPOSITORY / path).parent / urllib.parse.unquote(file) if file else REPOSITORY / path
            if not to.exists():
                yield f"{where} leads nowhere"
            elif REPOSITORY not in to.resolve().parents and to.resolve() != REPOSITORY:
                yield f"{where} leads out of the repository"
            elif anchor:
                other = pages().get(str(to.resolve().relative_to(REPOSITORY)))
                if other is None or anchor not in other.anchors:
                    yield f"{where}: there is no such heading"


@cache
def sources():
    """Our Rust, but for tests of their own."""
    crates = [REPOSITORY / name for name in ("shared", "functions", "server")]
    return "\n".join(file.read_text() for crate in crates for file in sorted(crate.rglob("*.rs")) if "target" not in file.parts)


@cache
def settings():
    """Every setting that a function reads."""
    asked = r'\b(?:optional|required|parsed|seconds|word|tokens|yes_or_no|names|limit|listed|refuse_unheeded)\(\s*(?:env,\s*)?"([A-Z][A-Z0-9_]+)"'
    read = set(re.findall(asked, sources()))
    # What is read by a table of names.
    read |= {name for name in re.findall(r'"((?:PUSHER|AWS_ENDPOINT)_[A-Z0-9_]+)"', sources()) if not name.endswith("_")}
    read |= {f"SYSTEM_PROMPT_{kind}" for kind in ("ASSISTANT", "POST") if "SYSTEM_PROMPT_{of}" in sources()}
    return (read | OTHER_SETTINGS) - NOT_SETTINGS


def rows(page):
    """The cells of each row of the tables of a page, without heads."""
    tables = re.findall(r"^\|[ -]*-{3}.*\n((?:\|.*\n?)+)", pages()[page].prose, re.M)
    return [re.split(r"(?<!\\)\|", row)[1:-1] for table in tables for row in table.splitlines()]


def first_cells(page, pattern):
    """What matches in the first column of the tables of a page."""
    return {found for cells in rows(page) for found in re.findall(pattern, cells[0])}


def defaults():
    """The defaults that stand beside their names in the sources."""
    numbers = re.findall(r'\b(?:parsed|seconds)\(\s*"([A-Z0-9_]+)",\s*([\d_]+)\)', sources())
    texts = re.findall(r'\b(?:limit|names)\(\s*"([A-Z0-9_]+)",\s*"([^"]+)"\)', sources())
    # A 0 stands where the default is another function's.
    return {**{name: value.replace("_", "") for name, value in numbers if value != "0"}, **dict(texts)}


def wrong_defaults():
    page = "docs/reference/configuration.md"
    real = defaults()
    for cells in rows(page):
        for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", cells[0]):
            if name in real and real[name] not in cells[-1]:
                yield f"{page}: the default of {name} is {real[name]}, and not{cells[-1].rstrip()}"


def wrong_statuses():
    """Statuses of problems, as the contract's answers have them."""
    page = "docs/reference/errors.md"
    real = {}
    for answer in openapi()["components"]["responses"].values():
        (content,) = answer["content"].values()
        told = content["schema"]["allOf"][1]["properties"]
        for problem in told["type"]["enum"]:
            real.setdefault(problem, set()).add(str(told["status"]["const"]))
    for cells in rows(page):
        (problem,) = re.findall(r"^ `([a-z-]+)` $", cells[0]) or [None]
        if len(cells) == 4 and problem in real and {cells[1].strip()} != real[problem]:
            yield f"{page}: {problem} has the status {', '.join(sorted(real[problem]))}, and not{cells[1].rstrip()}"


def compared(what, documented, real):
    yield from (f"{what}: {name} is documented, and not there" for name in sorted(documented - real))
    yield from (f"{what}: {name} is not documented" for name in sorted(real - documented))


def references():
    """Tables of the reference that must be complete."""
    yield from compared(
        "docs/reference/configuration.md",
        first_cells("docs/reference/configuration.md", r"`([A-Z][A-Z0-9_]+)`"),
        settings() - {"AWS_ENDPOINT_URL_S3", "SETTINGS"},
    )
    routes = {f"{method.upper()} {path}" for path, methods in openapi()["paths"].items() for method in methods}
    yield from compared("docs/reference/api.md", first_cells("docs/reference/api.md", r"`([A-Z]+ /api/\S+)`"), routes)
    messages = set(asyncapi()["components"]["messages"]) - {"chat-message"}
    events = first_cells("docs/reference/events.md", r"`([a-z.A-Z-]+)`")
    yield from compared("docs/reference/events.md", events, messages)
    schemas = openapi()["components"]["schemas"]
    words = set(schemas["ProblemType"]["enum"]) | set(schemas["Failure"]["enum"])
    fields = set(schemas["Problem"]["properties"])
    yield from compared("docs/reference/errors.md", first_cells("docs/reference/errors.md", r"`([a-zA-Z-]+)`") - fields, words)
    yield from wrong_statuses()
    yield from wrong_defaults()
    parameters = set(re.findall(r"^  (\w+):$", template().partition("\nConditions:")[0], re.M))
    unknown = first_cells("docs/deploy/aws.md", r"`(\w+)(?:=\w+)?`") - parameters
    yield from (f"docs/deploy/aws.md: the template has no parameter {name}" for name in sorted(unknown))
    for path, page in pages().items():
        whole = page.prose + "".join(block.text for block in page.blocks)
        for command in re.findall(r"cargo xtask ([a-z]+)", whole):
            if command not in xtask_commands():
                yield f"{path}: there is no cargo xtask {command}"
    length = len((REPOSITORY / "README.md").read_text().splitlines())
    if length >= LONGEST_README:
        yield f"README.md has {length} lines: it is to have fewer than {LONGEST_README}"


@cache
def template():
    return (REPOSITORY / "template.yaml").read_text()


@cache
def xtask_commands():
    commands = re.search(r"enum Command \{(.*?)\n\}", (REPOSITORY / "xtask/src/main.rs").read_text(), re.S)[1]
    return {name.lower() for name in re.findall(r"^    ([A-Z]\w+)", commands, re.M)}


@cache
def openapi():
    return json.loads((REPOSITORY / "docs/openapi.json").read_text())


@cache
def asyncapi():
    return json.loads((REPOSITORY / "docs/asyncapi.json").read_text())


def schema_of(name):
    """`openapi NAME`: a schema; `asyncapi NAME`: what a message carries."""
    document, name = name.split()
    if document == "openapi":
        return {"allOf": [openapi()["components"]["schemas"][name]], "components": openapi()["components"]}
    return {"allOf": [asyncapi()["components"]["messages"][name]["payload"]], "components": asyncapi()["components"]}


def wrong_json(block):
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        value = json.loads(block.text)
    except ValueError as error:
        yield f"{block}: this is no JSON: {error}"
        return
    if "schema" in block.marks:
        try:
            schema = schema_of(block.marks["schema"])
            error = best_match(Draft202012Validator(schema).iter_errors(value))
        except (KeyError, ValueError):
            yield f"{block}: there is no schema {block.marks['schema']}"
            return
        if error:
            yield f"{block}: {error.json_path} {error.message}"
    elif "settings" in block.marks:
        yield from (f"{block}: {name} is no setting" for name in sorted(set(value) - settings()))
    elif "not checked" not in block.marks:
        yield f"{block}: say by which schema it is to be checked, or why by none"


def wrong(block):
    """What is wrong with a block, and what was done with it."""
    language = block.language
    if language in ("sh", "env") and block.is_settings:
        names = {line.partition("=")[0] for line in block.text.split()}
        return "settings", [f"{block}: {name} is no setting" for name in sorted(names - settings())]
    if language == "env":
        return "settings", [f"{block}: an env block has lines of NAME=value alone"]
    if language == "sh":
        parsed = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
        done = "not run" if "not run" in block.marks else "run with --stack"
        return done, [f"{block}: {parsed.stderr.strip()}"] if parsed.returncode else []
    if language == "sql":
        return "not run" if "not run" in block.marks else "run with --stack", []
    if language in TYPESCRIPT:
        return "not checked" if "not checked" in block.marks else "type-checked by web/scripts/packed.mjs", []
    if block.page in TESTED_ELSEWHERE:
        return f"by a test in Rust ({TESTED_ELSEWHERE[block.page]})", []
    if language == "json":
        return "not checked" if "not checked" in block.marks else "schema", list(wrong_json(block))
    if language == "mermaid":
        known = re.match(r"(flowchart|sequenceDiagram|stateDiagram-v2|erDiagram)\b", block.text)
        return "a diagram, drawn by nobody here", [] if known else [f"{block}: no diagram that we know"]
    if language in ("", "text"):
        return "an output or a map, for the eye", []
    if "not checked" in block.marks:
        return "not checked", []
    return "nothing", [f"{block}: a block of {language} is checked by nothing: say why, by <!-- not checked: … -->"]


def check():
    problems = [*broken_links(), *references()]
    done = Counter()
    reasons = []
    for page in pages().values():
        for block in page.blocks:
            how, faults = wrong(block)
            done[f"{block.language}: {how}"] += 1
            problems += faults
            if how in ("not run", "not checked"):
                reasons.append(f"  {block}: {block.marks[how]}")
                if not block.marks[how]:
                    problems.append(f"{block}: say why it is {how}")
    count = sum(len(list(links(page))) for page in pages().values())
    print(f"{len(pages())} pages, {count} links, {sum(done.values())} blocks:")
    for what, times in sorted(done.items()):
        print(f"{times:>4}  {what}")
    print("\n".join(["neither run nor checked:", *reasons]))
    return problems


def token_of(claims):
    """Signed as the stack's own sign-in would."""

    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = {"iss": os.environ["JWT_ISSUER"], "aud": os.environ["JWT_AUDIENCE"], "exp": int(time.time()) + 3600, **claims}
    text = ".".join(part(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{text}.{part(hmac.new(os.environ['JWT_SECRET'].encode(), text.encode(), hashlib.sha256).digest())}"


# What a reader has: curl that succeeds, and the xtask that runs this.
PRELUDE = """set -euo pipefail
curl() { command curl --fail-with-body --noproxy '*' "$@"; }
cargo() {
  [ "$1" = xtask ] || { echo "this check runs cargo xtask alone" >&2; return 1; }
  case "$2" in
    token) set -- "$@" --instance "$STACK" ;;
    webhook | person | migrate) set -- xtask "$2" --name "$STACK" "${@:3}" ;;
  esac
  shift; "$XTASK" "$@"
}
"""
WITHOUT_AWS = 'aws() { echo "not run, for there is no AWS CLI: aws $1 $2"; }\n'


def run_page(page, desk, environment):
    """The shell blocks of a page in one shell: what was wrong, and what was said."""
    blocks = [block for block in page.blocks if block.language == "sh" and not block.is_settings and "not run" not in block.marks]
    if not blocks:
        return 0, None, ""
    script = PRELUDE + ("" if shutil.which("aws") else WITHOUT_AWS)
    script += "".join(f'echo "--- {block}"\n{block.text}\necho\n' for block in blocks)
    ran = subprocess.run(
        ["bash", "-c", script], cwd=desk, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    said = ran.stdout + ran.stderr
    if ran.returncode:
        return len(blocks), f"{page.path} ends with {ran.returncode}", said
    if said.count("event: reply.started") != said.count('"state":"completed"'):
        return len(blocks), f"{page.path} has an answer that is not completed", said
    return len(blocks), None, said


def run_sql(block):
    ran = subprocess.run(
        ["psql", "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", os.environ["DATABASE_URL"]],
        input=f"begin;\n{block.text}\nrollback;\n",
        capture_output=True,
        text=True,
        check=False,
    )
    return [f"{block}: {ran.stderr.strip()}"] if ran.returncode else []


def run_all():
    problems = []
    stack = Path(os.environ["PROCESSES_FILE"]).parent.name
    for page in pages().values():
        with tempfile.TemporaryDirectory() as directory:
            desk = Path(directory)
            for entry in REPOSITORY.iterdir():
                if entry.name not in {".local", ".git"}:
                    (desk / entry.name).symlink_to(entry)
            # A user of the page's own, for a user may have but so many chats.
            anna = token_of({"sub": f"anna-{uuid.uuid4().hex}", "name": "Anna Berger"})
            xtask = os.environ.get("XTASK", str(REPOSITORY / "target/debug/xtask"))
            environment = {**os.environ, "ANNA_TOKEN": anna, "STACK": stack, "XTASK": xtask, "PYTHONDONTWRITEBYTECODE": "1"}
            names = [name for name in environment if re.match(r"API_URL|.*_TOKEN$|AWS_|SQS_|PUSHER_|JWT_|DATABASE_URL", name)]
            (desk / ".local").mkdir()
            (desk / ".local/env").write_text("".join(f"export {name}='{environment[name]}'\n" for name in names))
            started = time.monotonic()
            try:
                count, problem, said = run_page(page, desk, environment)
            except subprocess.TimeoutExpired as expired:
                count, problem, said = 0, f"{page.path} takes longer than {PATIENCE} s", str(expired.output)
        if problem:
            problems.append(problem)
            print(f"{said}\n{problem}")
        if "not run, for" in said:
            print(f"{page.path}: " + next(line for line in said.splitlines() if "not run, for" in line))
        if count:
            print(f"{count:>4} shell blocks of {page.path}, {time.monotonic() - started:.1f} s")
    sql = [block for page in pages().values() for block in page.blocks if block.language == "sql" and "not run" not in block.marks]
    if shutil.which("psql"):
        for block in sql:
            problems += run_sql(block)
        print(f"{len(sql):>4} SQL blocks")
    else:
        print(f"{len(sql):>4} SQL blocks are not run, for there is no psql")
    return problems


def main():
    problems = run_all() if "--stack" in sys.argv[1:] else check()
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
