"""The gate must fail where the template is broken: each test breaks it once."""

import unittest
from pathlib import Path

from gate import (
    REPOSITORY,
    binaries_of,
    documented,
    functions,
    given_too_little_or_too_much,
    is_given,
    left_to_cargo_lambda,
    linted,
    manifest,
    problems_of,
    transformed,
    unsafe,
)

TEMPLATE = (REPOSITORY / "template.yaml").read_text()

def function(name):
    """One function's part of the template."""
    begin = TEMPLATE.index(f"  {name}:\n    Type: AWS::Serverless::Function")
    return TEMPLATE[begin : TEMPLATE.index("\n\n", begin)]


class BrokenOnPurpose(unittest.TestCase):
    def breaks(self, old, new, says, within=None, tools=()):
        """Something in the template, or in one function's part of it."""
        part = TEMPLATE if within is None else function(within)
        self.assertIn(old, part)
        broken = TEMPLATE.replace(part, part.replace(old, new, 1), 1)
        problems = problems_of(broken, tools)
        self.assertTrue(any(says in problem for problem in problems), problems)

    def test_it_passes_as_it_is(self):
        self.assertEqual(problems_of(TEMPLATE, ()), [])

    def test_a_stream_that_is_buffered(self):
        self.breaks(
            "ResponseTransferMode: RESPONSE_STREAM, ", "", "POST /api/chat/{chatId}/messages is buffered", "SendMessage"
        )

    def test_the_word_that_looks_like_streaming(self):
        self.breaks("RESPONSE_STREAM", "STREAM", "GET /api/chat/stream is buffered", "StreamEvents")

    def test_a_buffered_route_that_streams(self):
        self.breaks(
            'Path: "/api/usage"', 'Path: "/api/usage", ResponseTransferMode: RESPONSE_STREAM', "GET /api/usage streams", "GetUsage"
        )

    def test_a_stream_that_is_cut_before_its_function_ends(self):
        self.breaks("TimeoutInMillis: 300000", "TimeoutInMillis: 30000", "is cut after 30000 ms", "StreamEvents")

    def test_streams_that_could_take_all_processes(self):
        says = "StreamEvents is not bounded by StreamConcurrency"
        self.breaks("      ReservedConcurrentExecutions: *of_streams\n", "", says, "StreamEvents")

    def test_streams_that_are_bounded_where_an_account_cannot_reserve(self):
        self.breaks("StreamConcurrency:\n    Type: Number\n    Default: 0", "StreamConcurrency:\n    Type: Number\n    Default: 50", "bounded by default")

    def test_a_route_that_is_missing(self):
        self.breaks(
            "Get: {Type: Api, Properties: {RestApiId: !Ref Api, Method: GET, Path: \"/api/usage\"}}",
            "{}",
            'template.yaml: write under Events of GetUsage: Get: {Type: Api, Properties: {RestApiId: !Ref Api, Method: GET, Path: "/api/usage"}}',
            "GetUsage",
        )

    def test_a_route_that_leads_elsewhere(self):
        self.breaks("Path: \"/api/me\"", "Path: \"/api/my\"", "template.yaml: ('GET', '/api/my', 'get-me') is in no table", "GetMe")

    def test_a_route_that_the_contract_does_not_have(self):
        problems = problems_of(TEMPLATE, (), documented() - {("GET", "/api/usage")})
        self.assertEqual(problems, ["('GET', '/api/usage') is not in docs/openapi.json"])

    def test_a_route_that_only_the_contract_has(self):
        problems = problems_of(TEMPLATE, (), documented() | {("PUT", "/api/usage")})
        self.assertEqual(problems, ["('PUT', '/api/usage') is in docs/openapi.json alone"])

    def test_a_binary_that_is_no_function(self):
        self.breaks("Binary: sweeper", "Binary: sweep", "the binary sweeper is no function")

    def test_a_policy_that_is_missing(self):
        self.breaks("        - *the_databases_secrets\n", "", "GetMe cannot read DatabaseUrlParameter", "GetMe")

    def test_a_policy_that_gives_too_much(self):
        self.breaks("- *tokens_secret\n", "- *tokens_secret\n        - *models_key\n", "StopReply may read ModelKeyParameter", "StopReply")

    def test_a_policy_of_everything(self):
        self.breaks("Action: sqs:SendMessage,", "Action: sqs:*,", "may do sqs:* in general")

    def test_a_policy_on_everything(self):
        self.breaks("Resource: !GetAtt Jobs.Arn", 'Resource: "*"', "to anything")

    def test_a_function_that_cannot_wake_the_worker(self):
        self.breaks("        - *wakes\n", "", "StopReply must be able to send to the queue", "StopReply")

    def test_a_function_that_could_write_uploads(self):
        self.breaks("s3:PutObject", "s3:GetObject", "CreateAttachment may do ['s3:GetObject']", "CreateAttachment")

    def test_every_setting_of_every_function(self):
        output, names, table = transformed(TEMPLATE), binaries_of(TEMPLATE), functions()
        self.assertEqual(given_too_little_or_too_much(output, names, table), [])
        of_some = {name for one in table.values() for name in one["variables"]}
        for function_name in names:
            variables = output["Resources"][function_name]["Properties"]["Environment"]["Variables"]
            for name in of_some:
                value = variables.get(name, "")
                variables[name] = "" if is_given(value) else "something"
                problems = given_too_little_or_too_much(output, names, table)
                self.assertTrue(any(function_name in one and name in one for one in problems), (function_name, name))
                variables[name] = value

    def test_a_setting_that_a_function_has_no_use_for(self):
        self.breaks(
            "Properties:\n",
            "Properties:\n      Environment: {Variables: {SYSTEM_PROMPT: !Ref SystemPrompt}}\n",
            "GetMe is given SYSTEM_PROMPT, and asks only for reads",
            "GetMe",
        )

    def test_a_handler_that_asks_for_more(self):
        table = functions()
        more = table["get-me"] | {"variables": [*table["get-me"]["variables"], "MODEL_KEY"]}
        problems = problems_of(TEMPLATE, (), table=table | {"get-me": more})
        self.assertEqual(problems, ["GetMe asks for reads, and is not given MODEL_KEY"])

    def test_a_route_that_only_the_table_has(self):
        table = functions()
        more = table["get-me"] | {"routes": [["GET", "/api/me"], ["POST", "/api/me"]]}
        problems = problems_of(TEMPLATE, (), table=table | {"get-me": more})
        self.assertEqual(len(problems), 3, problems)
        self.assertIn('Cargo.toml: write into the router: "/api/me" = [{ method = "POST", function = "get-me" }]', problems)

    def test_a_secret_in_plain_text(self):
        self.breaks('!Sub "ssm:${JwtSecretParameter}"', "hunter2", "has JWT_SECRET in plain text")

    def test_batches_that_are_repeated_as_a_whole(self):
        self.breaks("            FunctionResponseTypes: [ReportBatchItemFailures]\n", "", "repeats whole batches", "Worker")

    def test_a_queue_that_is_impatient(self):
        self.breaks("VisibilityTimeout: 1800", "VisibilityTimeout: 300", "while they are worked on")

    def test_another_processor(self):
        self.breaks("Architectures: [arm64]", "Architectures: [x86_64]", "is built for ['x86_64']")

    def test_a_panic_that_ends_the_process(self):
        profile = manifest()["profile"]["release"]
        self.assertEqual(left_to_cargo_lambda(profile), [])
        for name in ["panic", "lto"]:
            said = {other: value for other, value in profile.items() if other != name}
            self.assertEqual(len(left_to_cargo_lambda(said)), 1, name)

    def test_what_sam_does_not_understand(self):
        self.breaks("Type: Api, Properties", "Type: Pai, Properties", "SAM: ", "GetMe")

    def test_what_cloudformation_does_not_understand(self):
        self.breaks("RetentionInDays: !Ref LogDays", "RetentionInDays: 31", "cfn-lint E3030", tools=(linted,))

    def test_what_is_unsafe(self):
        self.breaks("BlockPublicAcls: true", "BlockPublicAcls: false", "checkov CKV_AWS_53", tools=(unsafe,))


if __name__ == "__main__":
    unittest.main()
