"""What each function's code can ask for, read from the code itself: which parts of `App` are named in whatever its handler can
reach. No compiler is asked: functions are found by their names, through the `use`s of each file, and a method by its name in
the files that know of its type. So it finds rather too much than too little, and the gate compares in both directions."""

import re
from pathlib import Path

# Comments, and texts with what is in them: neither calls anything.
NOISE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^'\\\n])'""", re.DOTALL
)
FUNCTION = re.compile(r"\bfn (\w+)\s*[<(]")
IMPL = re.compile(r"^\s*impl\b[^{;]*?(\w+)(?:<[^{>]*>)?\s*(?:where[^{]*)?\{", re.MULTILINE)
# The crates under shared/, as the code calls them.
OTHERS = ("app", "backtalk_http", "domain", "foundation", "hooks", "models", "notices", "parameters", "pusher", "queue", "store", "telemetry", "uploads")
PATH = re.compile(r"(?<![\w.:])(?:\w+::)*\w+")
METHOD = re.compile(r"\.\s*(\w+)\s*(?:::<[^(]*>)?\(")


class Code:
    """The functions of a crate: (module, type or None, name) → its body."""

    def __init__(self, root):
        self.bodies, self.known, self._calls = {}, {}, {}
        for path in sorted(Path(root).rglob("*.rs")):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[0] != "bin" and parts[-1] != "tests":
                module = tuple(part for part in parts if part not in ("mod", "lib"))
                self._read(module, path.read_text())

    def _read(self, module, text):
        text = NOISE.sub(" ", text)
        # What is there for tests alone stands at the end of a file.
        text = re.split(r"#\[cfg\(test\)\]\s*(?:pub )?mod \w+ \{", text)[0]
        self.known[module] = dict(_uses(module, text))
        impls = [(match.start(), _end(text, match.end() - 1), match[1]) for match in IMPL.finditer(text)]
        for match in FUNCTION.finditer(text):
            brace = _body(text, match.end() - 1)
            if brace is None:
                continue
            owner = next((name for begin, end, name in impls if begin < match.start() < end), None)
            self.bodies[(module, owner, match[1])] = text[match.start() : _end(text, brace)]

    def reached(self, *start):
        """All functions that can be called, and what calls them, and so on."""
        found, todo = set(), [start]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                if one not in self._calls:
                    self._calls[one] = self._called(one)
                todo += self._calls[one]
        return found

    def text(self, functions):
        return "\n".join(self.bodies[one] for one in functions)

    def _called(self, one):
        module, owner, _ = one
        body, known = self.bodies[one], self.known[module]
        mentioned = set()
        for match in PATH.finditer(body):
            mentioned |= self._named(module, owner, match[0].split("::"))
        methods = set(METHOD.findall(body))
        for of_module, of_type, name in self.bodies:
            if name in methods and of_type:
                is_known = of_module[: len(module)] == module or any(path[: len(of_module)] == of_module for path in known.values())
                if is_known:
                    mentioned.add((of_module, of_type, name))
        return mentioned

    def _named(self, module, owner, path):
        """The functions that a path may mean, as it is written in a module."""
        head, known = path[0], self.known[module]
        if head == "Self":
            full = (*module, owner, *path[1:])
        elif head in known:
            full = (*known[head], *path[1:])
        elif head in ("crate", "super", "self"):
            full = _from(module, path)
        else:
            full = (*module, *path)
        return self._meant(full)

    def _meant(self, full):
        places = {(full[:-1], None, full[-1])}
        if len(full) > 1:
            places.add((full[:-2], full[-2], full[-1]))
        places = {place for place in places if place in self.bodies}
        # Else a module brings it in for others.
        for at in range(len(full) - 1, 0, -1):
            known = self.known.get(full[:at], {}).get(full[at])
            if not places and known and full[: len(known)] != known:
                places = self._meant((*known, *full[at + 1 :]))
        return places


def _from(module, path):
    """`super::a::b` of a module, from the root."""
    path, base = list(path), module
    if path[0] == "crate":
        return tuple(path[1:])
    if path[0] == "self":
        path = path[1:]
    while path and path[0] == "super":
        path, base = path[1:], base[:-1]
    return (*base, *path)


def _uses(module, text):
    """Each name that a file brings in, and its whole path."""
    for match in re.finditer(r"\buse ([^;]+);", text):
        for path in _spread(re.sub(r"\s+", "", match[1].replace(" as ", "@"))):
            parts = path.split("::")
            name, _, alias = parts[-1].partition("@")
            parts = parts[:-1] + ([] if name == "self" else [name])
            if parts:
                yield alias or parts[-1], _from(module, parts) if parts[0] in ("crate", "super", "self") else _here(module, parts)


def _here(module, parts):
    # Of another crate, or of a submodule: the former leads to no function of ours.
    return (*module, *parts) if parts[0] not in ("std", "lambda_http", "tokio", *OTHERS) else tuple(parts)


def _spread(use):
    """`a::{b,c::{d,e}}` one by one."""
    if "{" not in use:
        return [use]
    begin = use.index("{")
    end = _end(use, begin)
    inner, depth, items = use[begin + 1 : end - 1], 0, [""]
    for char in inner:
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            items.append("")
        else:
            items[-1] += char
    return [path for item in items if item for path in _spread(use[:begin] + item + use[end:])]


def _body(text, begin):
    """Where a function's body begins; none where it only is declared."""
    depth = 0
    for at in range(begin, len(text)):
        depth += (text[at] in "([") - (text[at] in ")]")
        if depth == 0 and text[at] == "{":
            return at
        if depth == 0 and text[at] == ";":
            return None
    return None


def _end(text, brace):
    depth = 0
    for at in range(brace, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at + 1
    return len(text)


def handlers(mains):
    """Which handler each binary serves, by functions/src/mains.rs."""
    found = {}
    for name, path in re.findall(r"(\w+) => ([\w:]+);", mains):
        parts = path.split("::")
        found[name.replace("_", "-")] = (tuple(parts[:-1]), None, parts[-1])
    return found


def asked(source, parts):
    """Each binary's parts of those that are named: `parts` has a pattern for each."""
    code = Code(source)
    served = handlers((Path(source) / "mains.rs").read_text())
    texts = {name: code.text(code.reached(*start)) for name, start in served.items()}
    return {name: {part for part, pattern in parts.items() if re.search(pattern, text)} for name, text in texts.items()}


def fields(text, struct):
    """The public fields of a struct."""
    text = NOISE.sub(" ", text)
    begin = text.index("{", text.index(f"pub struct {struct} "))
    return set(re.findall(r"\bpub (\w+):", text[begin : _end(text, begin)]))
