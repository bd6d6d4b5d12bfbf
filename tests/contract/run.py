"""Every operation of the contract, called by schemathesis on a running stack: `run.py` with the stack's environment.

Fails where an answer is not what docs/openapi.json says, where a fault is ours (5xx), where somebody without a token gets
anything, and where an operation never succeeded. Prints how often each was called and what it answered.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from openapi_spec_validator import validate

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parents[1] / "docs/openapi.json"
SEED = "7"
CASES = os.environ.get("CONTRACT_CASES", "4")
# Of a hundred calls, the local gateway may lose so many.
LOST = 1

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
]

# Operations that cannot succeed here, and why.
NEVER_SUCCEED = {}


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", method.upper(), path, operation


def test(directory, figures):
    """Runs schemathesis: whether it has nothing to complain of."""
    command = [Path(sys.executable).parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", DOCUMENT]
    command += ["--url", os.environ["API_URL"], "--checks", ",".join(CHECKS), "--max-examples", CASES, "--seed", SEED]
    # It is we who share the machine with a build.
    command += ["--suppress-health-check", "too_slow"]
    command += ["--phases", "examples,coverage,fuzzing", "--workers", "1", "--generation-database", "none"]
    command += ["--generation-with-security-parameters", "false", "--continue-on-failure", "--warnings", "off"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "SCHEMATHESIS_HOOKS": "hooks",
        "CONTRACT_SEED": SEED,
        "CONTRACT_FIGURES": figures,
        "NO_PROXY": "*",
    }
    return subprocess.run(command, env=environment, cwd=directory, check=False).returncode == 0


def answered_to_nobody(document):
    """Operations that somebody without a token, or with a bad one, gets anything from."""
    from world import API, session

    problems = []
    for name, method, path, operation in operations(document):
        if not operation["security"]:
            continue
        for headers in ({}, {"Authorization": "Bearer not.a.token"}):
            url = API + path.replace("{", "").replace("}", "")
            answer = session.request(method, url, headers=headers, json={}, timeout=30)
            if answer.status_code != 401 or answer.json()["type"] != "unauthenticated":
                problems.append(f"{name} answers {answer.status_code} to {headers or 'nobody'}")
    return problems


def main():
    document = json.loads(DOCUMENT.read_text())
    validate(document)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "figures.json"
        is_good = test(directory, str(path))
        figures = json.loads(path.read_text())
    problems = [] if is_good else ["schemathesis found faults: see above"]
    problems += answered_to_nobody(document)
    calls = figures["calls"]
    total = 0
    print(f"\n{'calls':>6}  {'2xx':>6}  operation: what it answered")
    for name, *_ in operations(document):
        statuses = calls.get(name, {})
        count = sum(statuses.values())
        good = sum(times for status, times in statuses.items() if status < "400")
        total += count
        print(f"{count:>6}  {good:>6}  {name}: " + ", ".join(f"{status} × {statuses[status]}" for status in sorted(statuses)))
        if count == 0:
            problems.append(f"{name} was never called")
        elif good == 0 and name not in NEVER_SUCCEED:
            problems.append(f"{name} never succeeded")
    for name, reason in NEVER_SUCCEED.items():
        print(f"not expected to succeed: {name} ({reason})")
    for what, times in figures["gateway"].items():
        print(f"the local gateway {what}: {times} ×, which is not ours")
    print(f"{total} calls of {len(list(operations(document)))} operations; none without a token")
    if figures["gateway"].get("loses an answer", 0) > total * LOST / 100:
        problems.append("the local gateway has lost too many answers to be believed")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
