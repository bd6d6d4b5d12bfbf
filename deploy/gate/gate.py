"""What must be true of template.yaml before anybody deploys it: `gate.py [TEMPLATE]` prints what is not, and exits with 1.

The template is transformed as AWS does it; the output is linted (cfn-lint) and checked for what is unsafe (checkov). Then
what no tool knows: that it and the local router have the routes of the one table, that streams stream, that no function may do or
read more than it needs, and that each is given the settings that its handler asks for.
"""

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from pathlib import Path

os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")

from cfnlint.api import ManualArgs, lint  # noqa: E402
from samtranslator.model.exceptions import InvalidDocumentException  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

# It reports what it measures to nobody, and complains of that.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

REPOSITORY = Path(__file__).resolve().parents[2]
REGIONS = ["eu-central-1", "us-east-1"]

# What checkov asks for and we do not do, and why.
CHECKOV_SKIPS = {
    "CKV_AWS_18": "access logs of the bucket of uploads: whoever wants them names a bucket for them",
    "CKV_AWS_21": "versions of uploads: each has a name of its own, and what is erased must be gone",
    "CKV_AWS_27": "a key of one's own for queues: they are encrypted with SQS's, and carry ids alone",
    "CKV_AWS_115": "reserved concurrency: it takes from the account what others need; the worker's is bounded by its queue, streams by a parameter",
    "CKV_AWS_116": "dead letters of functions: API Gateway waits for answers, and the queue has its own",
    "CKV_AWS_117": "a VPC: the database is reached by its URL, or lies in one by a parameter",
    "CKV_AWS_120": "a cache of answers: they are somebody's own",
    "CKV_AWS_158": "a key of one's own for logs: they hold no content and no secret",
    "CKV_AWS_173": "a key of one's own for variables: they name secrets and hold none",
}

# What a function may do with the bucket. What is not here may do nothing.
BUCKET = {
    "SendMessage": {"s3:GetObject", "s3:ListBucket"},
    "RegenerateReply": {"s3:GetObject"},
    "Worker": {"s3:GetObject", "s3:DeleteObject"},
    "Person": {"s3:GetObject"},
    "Sweeper": {"s3:DeleteObject"},
    "CreateAttachment": {"s3:PutObject"},
    "GetAttachment": {"s3:GetObject"},
}
SECRETS = {"DATABASE_URL", "DATABASE_PASSWORD", "DATABASE_CA", "JWT_SECRET", "PUSHER_SECRET", "MODEL_KEY", "MODERATION_SECRET"}
# It is given the database alone, which it brings to the newest schema, and is in no table of handlers.
MIGRATE = {"variables": ["DATABASE_CA", "DATABASE_PASSWORD", "DATABASE_URL"], "actions": []}


def transformed(template_text):
    """As CloudFormation would get it. The code is wherever `sam deploy` puts it."""
    template = yaml_parse(template_text)
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/code"

    class NoManagedPolicies:
        def load(self):
            return {}

    # Through JSON, for parts that YAML anchors share must not be changed together.
    return json.loads(json.dumps(transform(json.loads(json.dumps(template)), {}, NoManagedPolicies()), default=str))


def of_type(output, kind):
    return {name: resource for name, resource in output["Resources"].items() if resource["Type"] == kind}


def linted(output):
    def is_meant(match):
        # Empty where they are not used, which a condition says.
        return not (match.rule.id == "W1030" and re.search("VpcId|SubnetIds", match.message))

    matches = lint(json.dumps(output), config=ManualArgs(regions=REGIONS))
    return [f"cfn-lint {match.rule.id}: {match.message}" for match in matches if is_meant(match)]


def unsafe(output):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "template.json"
        path.write_text(json.dumps(output))
        checkov = Path(sys.executable).parent / "checkov"
        command = [checkov, "--skip-download", "--framework", "cloudformation", "--file", path, "--compact", "--quiet"]
        command += ["--output", "json", "--skip-check", ",".join(CHECKOV_SKIPS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        return [f"checkov said nothing: {done.stderr[-500:]}"]
    report = json.loads(done.stdout)
    results = report.get("results")
    if results is None or results.get("parsing_errors"):
        return [f"checkov could not read the output: {done.stdout[:500]}"]
    return [f"checkov {check['check_id']}: {check['check_name']} ({check['resource']})" for check in results["failed_checks"]]


@cache
def functions():
    """Each function, its routes, and what it is to be given: the table of functions/src/routes.rs, which a test there writes."""
    return json.loads((REPOSITORY / "deploy/gate/functions.json").read_text()) | {"migrate": MIGRATE}


def manifest():
    return tomllib.loads((REPOSITORY / "Cargo.toml").read_text())


def router():
    routes = manifest()["workspace"]["metadata"]["lambda"]["watch"]["router"]
    return {(entry["method"], path, entry["function"]) for path, entries in routes.items() for entry in entries}


def documented():
    """What docs/openapi.json promises."""
    paths = json.loads((REPOSITORY / "docs/openapi.json").read_text())["paths"]
    return {(method.upper(), path) for path, operations in paths.items() for method in operations}


def binaries_of(template_text):
    template = yaml_parse(template_text)
    functions = {
        name: resource for name, resource in template["Resources"].items() if resource["Type"] == "AWS::Serverless::Function"
    }
    return {name: resource["Metadata"]["BuildProperties"]["Binary"] for name, resource in functions.items()}


def integrations(output):
    """(method, path) → the function's logical id, and the integration."""
    (api,) = of_type(output, "AWS::ApiGateway::RestApi").values()
    found = {}
    for path, methods in api["Properties"]["Body"]["paths"].items():
        for method, operation in methods.items():
            if method == "options":
                continue
            integration = operation["x-amazon-apigateway-integration"]
            (function,) = re.findall(r"\$\{(\w+)\.Arn\}", json.dumps(integration["uri"]))
            found[(method.upper(), path)] = (function, integration)
    return found


def misrouted(output, names, table, contract):
    routes = {(method, path, name) for name, function in table.items() for method, path in function.get("routes", [])}
    template_routes = {(method, path, names[function]) for (method, path), (function, _) in integrations(output).items()}
    logical = {binary: function for function, binary in names.items()}
    problems = []
    for method, path, name in sorted(routes - template_routes):
        event = f'{{Type: Api, Properties: {{RestApiId: !Ref Api, Method: {method}, Path: "{path}"}}}}'
        problems.append(f"template.yaml: write under Events of {logical.get(name, name)}: {method.title()}: {event}")
    problems += [f"template.yaml: {route} is in no table of functions/src/routes.rs" for route in sorted(template_routes - routes)]
    for method, path, name in sorted(routes - router()):
        problems.append(f'Cargo.toml: write into the router: "{path}" = [{{ method = "{method}", function = "{name}" }}]')
    problems += [f"Cargo.toml: {route} is in no table of functions/src/routes.rs" for route in sorted(router() - routes)]
    served = {(method, path) for method, path, _ in routes}
    problems += [f"{route} is not in docs/openapi.json" for route in sorted(served - contract)]
    problems += [f"{route} is in docs/openapi.json alone" for route in sorted(contract - served)]
    used = set(names.values())
    problems += [f"the binary {name} is no function of the template" for name in sorted(set(table) - used)]
    problems += [f"the function {name} has no binary" for name in sorted(used - set(table))]
    return problems


def buffered_where_it_should_stream(output, names, table):
    problems = []
    streams = {name for name, function in table.items() if function.get("streams")}
    for (method, path), (function, integration) in sorted(integrations(output).items()):
        is_streamed = integration.get("responseTransferMode") == "STREAM" and bool(
            re.search(r"/2021-11-15/functions/.*/response-streaming-invocations", json.dumps(integration["uri"]))
        )
        if is_streamed != (names[function] in streams):
            problems.append(f"{method} {path} {'streams' if is_streamed else 'is buffered'}, and {names[function]} is not made so")
        timeout = integration.get("timeoutInMillis", 29_000)
        function_timeout = output["Resources"][function]["Properties"]["Timeout"] * 1000
        if timeout < min(function_timeout, 900_000) and is_streamed:
            problems.append(f"{method} {path} is cut after {timeout} ms, and its function may take {function_timeout}")
    return problems


def unbounded_streams(output):
    """Whoever only reads streams must not be able to take all processes of the account from those who send."""
    readers = {
        function
        for (method, _), (function, integration) in integrations(output).items()
        if method == "GET" and integration.get("responseTransferMode") == "STREAM"
    }
    bound = {"Fn::If": ["HasStreamConcurrency", {"Ref": "StreamConcurrency"}, {"Ref": "AWS::NoValue"}]}
    found = {name: output["Resources"][name]["Properties"].get("ReservedConcurrentExecutions") for name in sorted(readers)}
    problems = [f"{name} is not bounded by StreamConcurrency" for name, value in found.items() if value != bound]
    if output["Parameters"].get("StreamConcurrency", {}).get("Default") != 0:
        problems.append("streams are bounded by default, which an account with 10 processes cannot do")
    return problems


def statements_of(output, function):
    """What the function's own role allows."""
    (role,) = re.findall(r'"(\w+)", "Arn"', json.dumps(output["Resources"][function]["Properties"]["Role"]))
    for policy in output["Resources"][role]["Properties"].get("Policies", []):
        for statement in policy["PolicyDocument"]["Statement"]:
            if isinstance(statement, dict) and "Fn::If" in statement:
                statement = statement["Fn::If"][1]
            yield statement


def listed(value):
    return value if isinstance(value, list) else [value]


def parameters_in(value):
    """The template's parameters that name SSM parameters, wherever they stand in a value."""
    return set(re.findall(r"(?:ssm:|parameter)\$\{(\w+Parameter)\}", json.dumps(value)))


def over_or_under_privileged(output, names, table):
    problems = []
    for function in names:
        properties = output["Resources"][function]["Properties"]
        variables = properties["Environment"]["Variables"]
        wanted = parameters_in(variables)
        readable, sends, bucket = set(), False, set()
        for statement in statements_of(output, function):
            actions, resources = listed(statement["Action"]), listed(statement["Resource"])
            problems += [f"{function} may do {action} in general" for action in actions if "*" in action]
            problems += [f"{function} may do {actions} to anything" for resource in resources if resource == "*"]
            if "ssm:GetParameters" in actions:
                readable |= parameters_in(resources)
            sends |= any(action.startswith("sqs:SendMessage") for action in actions)
            bucket |= {action for action in actions if action.startswith("s3:")}
        problems += [f"{function} cannot read {name}, which it is given" for name in sorted(wanted - readable)]
        problems += [f"{function} may read {name} and does not need it" for name in sorted(readable - wanted)]
        if sends != ("sqs:SendMessage" in table.get(names[function], MIGRATE)["actions"]):
            problems.append(f"{function} {'may' if sends else 'must be able to'} send to the queue")
        if bucket != BUCKET.get(function, set()):
            problems.append(f"{function} may do {sorted(bucket)} with uploads, and needs {sorted(BUCKET.get(function, set()))}")
        for name in SECRETS & set(variables):
            # Each is the name of a parameter, in one case or the other, or nothing.
            texts = re.findall(r'"([^"]*)"', json.dumps(variables[name]))
            known = r"ssm:.*|postgres://backtalk@\$\{DatabaseProxy\.Endpoint\}.*|Fn::\w+|Has\w+|"
            problems += [f"{function} has {name} in plain text" for text in texts if not re.fullmatch(known, text)]
    return problems


def is_given(value):
    """An empty text is what a setting is that is kept from a function."""
    return value != ""


def given_too_little_or_too_much(output, names, table):
    """Compares what only some functions need, by their handlers' signatures, with what the template gives them."""
    of_some = {name for function in table.values() for name in function["variables"]}
    problems = []
    for function, binary in names.items():
        variables = output["Resources"][function]["Properties"]["Environment"]["Variables"]
        given = {name for name, value in variables.items() if is_given(value)} & of_some
        needed = set(table.get(binary, MIGRATE)["variables"])
        asks = ", ".join(table.get(binary, {}).get("capabilities", []))
        problems += [f"{function} asks for {asks}, and is not given {name}" for name in sorted(needed - given)]
        problems += [f"{function} is given {name}, and asks only for {asks}" for name in sorted(given - needed)]
    return problems


def left_to_cargo_lambda(profile):
    """What a release's profile does not say, cargo-lambda says: that a panic ends the process, among others."""
    problems = [f"cargo-lambda decides what [profile.release] does not: {name}" for name in ("strip", "lto", "codegen-units") if name not in profile]
    if profile.get("panic") != "unwind":
        problems.append("a panic of one request would end a function's process")
    return problems


def misbuilt(output, names):
    problems = []
    for function in names:
        properties = output["Resources"][function]["Properties"]
        if properties["Architectures"] != ["arm64"] or properties["Runtime"] != "provided.al2023":
            problems.append(f"{function} is built for {properties['Architectures']} on {properties['Runtime']}")
    return problems


def wrongly_queued(output):
    problems = []
    mappings = of_type(output, "AWS::Lambda::EventSourceMapping")
    for name, mapping in mappings.items():
        properties = mapping["Properties"]
        if properties.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            problems.append(f"{name} repeats whole batches for one message that failed")
        if "MaximumConcurrency" not in properties.get("ScalingConfig", {}):
            problems.append(f"{name} has no bound")
        function = output["Resources"][properties["FunctionName"]["Ref"]]["Properties"]
        queue = output["Resources"][properties["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]
        if queue["VisibilityTimeout"] < 6 * function["Timeout"]:
            problems.append(f"{name}'s queue hands messages over again while they are worked on")
        if queue.get("RedrivePolicy", {}).get("maxReceiveCount") != 5:
            problems.append(f"{name}'s queue has no dead letters after five attempts")
    if len(mappings) != 1:
        problems.append(f"{len(mappings)} functions are fed by queues")
    return problems


def problems_of(template_text, tools=(linted, unsafe), contract=None, table=None):
    """All that is wrong with a template, as sentences; `contract` stands for what docs/openapi.json promises, `table` for the
    functions."""
    try:
        output = transformed(template_text)
    except InvalidDocumentException as error:
        return [f"SAM: {cause.message}" for cause in error.causes] or [f"SAM: {error.message}"]
    names, table = binaries_of(template_text), functions() if table is None else table
    problems = [problem for tool in tools for problem in tool(output)]
    problems += misrouted(output, names, table, documented() if contract is None else contract)
    problems += buffered_where_it_should_stream(output, names, table) + unbounded_streams(output)
    problems += over_or_under_privileged(output, names, table) + misbuilt(output, names) + wrongly_queued(output)
    problems += given_too_little_or_too_much(output, names, table)
    problems += left_to_cargo_lambda(manifest()["profile"]["release"])
    return problems


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "template.yaml"
    problems = problems_of(path.read_text())
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{path.name}: {len(router())} routes, {len(functions())} functions, nothing to complain of")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
