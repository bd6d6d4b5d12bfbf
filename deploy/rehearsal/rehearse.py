"""The deployment of template.yaml, rehearsed: `rehearse.py ENDPOINT DATABASE_URL BINARIES`.

Deploys it into the ministack at ENDPOINT, on an empty database, and then does with it what a deployer, people and an
operator do: through API Gateway, Lambda, SQS and logs, as the stack's outputs name them. Exits with 1 where something is not
as they would expect.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex
from threading import Thread

from deploy import STACK, Cloud, deploy, keep_secrets, router

# For what must happen; it says nothing about speed.
PATIENCE = 60
# The schedule's minute, the quarter of one after which a job is late, and what a busy machine adds.
SWEEPERS_PATIENCE = 150
ISSUER = "rehearsal"
AUDIENCE = "backtalk"
# What a Lambda function streams begins with its status and headers, and this.
END_OF_PRELUDE = "\0" * 8

# This machine needs no way to the world.
http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(endpoint, database_url, binaries):
    cloud = Cloud(endpoint)
    secrets = {"database-url": database_url, "jwt-secret": token_hex(32), "model-key": token_hex(16)}
    with a_model(secrets["model-key"]) as model_url:
        parameters = {"JwtIssuer": ISSUER, "ModelName": "a-model", "ModelUrl": model_url, "WorkerConcurrency": "2"}
        with told("the stack is made"):
            keep_secrets(cloud, secrets)
            outputs = deploy(cloud, Path(binaries), parameters)
        anna = Person("anna", secrets["jwt-secret"], gateway_of(endpoint, outputs["ApiUrl"]))
        for step in [
            nothing_is_served_before_migrate,
            migrate_makes_the_schema_and_may_run_twice,
            strangers_are_refused,
            a_message_is_stored_once_and_answered_by_the_worker,
            a_reply_is_streamed,
            an_image_is_uploaded,
            what_nobody_can_read_is_a_dead_letter_at_once,
            what_always_fails_is_a_dead_letter_after_five_attempts,
            every_route_reaches_a_function_that_starts,
            a_request_leaves_one_line_in_the_log_group,
            a_lost_wake_up_is_mended_by_the_schedule,
        ]:
            with told(step.__name__.replace("_", " ")):
                step(cloud, outputs, anna)


@contextmanager
def told(what):
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:8.1f} s  {what}", flush=True)


def nothing_is_served_before_migrate(_cloud, _outputs, anna):
    problem = anna.call("GET", "/api/chat").problem(503)
    expect(problem["retryable"] is True, problem)


def migrate_makes_the_schema_and_may_run_twice(cloud, outputs, anna):
    for _ in range(2):
        invoked = cloud.functions.invoke(FunctionName=outputs["MigrateFunction"])
        said = json.loads(invoked["Payload"].read())
        expect(said == {"migrated": True}, said)

    def listed():
        answer = anna.call("GET", "/api/chat")
        # The function remembers for a second that there was no schema.
        return answer.body(200) if answer.status != 503 else None

    found = eventually("a list", listed)
    expect(found["chats"] == [], found)


def strangers_are_refused(_cloud, _outputs, anna):
    stranger = Person("anna", "another secret, and as long as one must be", anna.gateway)
    stranger.call("GET", "/api/chat").problem(401)
    anna.call("GET", f"/api/chat/{uuid.uuid4()}").problem(404)


def a_message_is_stored_once_and_answered_by_the_worker(_cloud, _outputs, anna):
    chat = anna.opens_a_chat()
    sent = anna.says(chat, "c-1", "hello")
    message = sent.body(201)["message"]
    expect(message["seq"] == 1 and message["content"] == "hello", message)
    (first, reply) = anna.history(chat, 2)
    expect(first == message, first)
    expect(reply["role"] == "assistant" and reply["content"] == "You said: hello", reply)
    expect(anna.says(chat, "c-1", "hello").body(200)["message"]["id"] == message["id"], "the retry is another message")
    expect(len(anna.history(chat, 2)) == 2, "the retry is in the history")


def a_reply_is_streamed(_cloud, _outputs, anna):
    chat = anna.opens_a_chat()
    stream = anna.says(chat, "c-1", "hello", {"accept": "text/event-stream"})
    expect(stream.status == 200 and stream.headers["content-type"].startswith("text/event-stream"), stream)
    events = [json.loads(line.removeprefix("data:")) for line in stream.text.splitlines() if line.startswith("data:")]
    text = "".join(event["data"]["text"] for event in events if event["type"] == "reply.delta")
    expect(text == "You said: hello", stream.text)
    expect(events[-1]["type"] == "reply.ended" and events[-1]["data"]["state"] == "completed", events[-1])


def an_image_is_uploaded(_cloud, _outputs, anna):
    image = b"\x89PNG\r\n\x1a\n" + bytes(100)
    draft = {"type": "image", "mimeType": "image/png", "size": len(image)}
    upload = anna.call("POST", "/api/attachments", draft).body(201)["upload"]
    answer = request(upload["method"], upload["url"], image, upload["headers"])
    expect(answer.status == 200, answer)


def what_nobody_can_read_is_a_dead_letter_at_once(cloud, outputs, _anna):
    cloud.sqs.send_message(QueueUrl=outputs["JobsQueueUrl"], MessageBody="nonsense")
    letter = next_dead_letter(cloud, outputs)
    expect(letter["Body"] == "nonsense", letter)
    expect("not JSON" in letter["MessageAttributes"]["reason"]["StringValue"], letter)


def what_always_fails_is_a_dead_letter_after_five_attempts(cloud, outputs, anna):
    queue = outputs["JobsQueueUrl"]
    worker = function_of(cloud, "worker")
    configuration = cloud.functions.get_function_configuration(FunctionName=worker)
    variables = configuration["Environment"]["Variables"]
    attributes = cloud.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    # Half an hour each is long to wait for.
    cloud.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
    cloud.functions.update_function_configuration(
        FunctionName=worker, Environment={"Variables": variables | {"MODEL_KEY": "ssm:/backtalk/nothing-is-here"}}
    )
    body = json.dumps({"v": 1, "jobId": str(uuid.uuid4())})
    cloud.sqs.send_message(QueueUrl=queue, MessageBody=body)
    letter = next_dead_letter(cloud, outputs)
    expect(letter["Body"] == body, letter)
    expect(letter["Attributes"]["ApproximateReceiveCount"] >= "5", letter)
    cloud.functions.update_function_configuration(FunctionName=worker, Environment={"Variables": variables})
    cloud.sqs.set_queue_attributes(QueueUrl=queue, Attributes=attributes)
    chat = anna.opens_a_chat()
    anna.says(chat, "c-1", "hello").body(201)
    anna.history(chat, 2)


def every_route_reaches_a_function_that_starts(cloud, outputs, anna):
    """With its own code, and the variables that the template gives it."""
    for method, path, function in sorted(router()):
        path = re.sub(r"\{\w+\}", str(uuid.uuid4()), path)
        answer = request(method, anna.gateway + path, b"{}" if method in ["POST", "PUT", "PATCH"] else None, {})
        # What API Gateway itself refuses is no problem document.
        is_its_own = answer.status < 300 or answer.headers["content-type"] == "application/problem+json"
        expect(is_its_own and answer.status < 500, f"{method} {path}, {function}: {answer}")
    invoked = cloud.functions.invoke(FunctionName=outputs["PersonFunction"], Payload=b"{}")
    expect("FunctionError" not in invoked, invoked)


def a_request_leaves_one_line_in_the_log_group(cloud, outputs, anna):
    chat = anna.opens_a_chat()

    def lines():
        found = cloud.logs.filter_log_events(logGroupName=outputs["LogGroup"], filterPattern=f'"{chat}"')
        return [event["message"] for event in found["events"]]

    anna.call("GET", f"/api/chat/{chat}").body(200)
    (line,) = eventually("the request's line", lambda: [line for line in lines() if '"answered"' in line])
    expect('"route":"/api/chat/{chatId}"' in line and "anna" not in line, line)


def a_lost_wake_up_is_mended_by_the_schedule(cloud, outputs, anna):
    (mapping,) = cloud.functions.list_event_source_mappings(FunctionName=function_of(cloud, "worker"))["EventSourceMappings"]
    cloud.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    chat = anna.opens_a_chat()
    anna.says(chat, "c-1", "hello").body(201)
    eventually("the wake-up is on the queue", lambda: depth(cloud, outputs["JobsQueueUrl"]) == 1)
    cloud.sqs.purge_queue(QueueUrl=outputs["JobsQueueUrl"])
    cloud.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    expect(len(anna.history(chat, 1)) == 1, "somebody has answered without a wake-up")
    anna.history(chat, 2, SWEEPERS_PATIENCE)


class Person:
    def __init__(self, name, secret, gateway):
        now = int(time.time())
        claims = {"sub": name, "name": name, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 3600}
        signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims)}"
        signature = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
        self.token = f"{signed}.{base64url(signature)}"
        self.gateway = gateway

    def call(self, method, path, body=None, headers=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"} | (headers or {})
        return request(method, self.gateway + path, data, headers)

    def opens_a_chat(self):
        return self.call("POST", "/api/chat", {"kind": "assistant"}).body(201)["chat"]["id"]

    def says(self, chat, client_id, content, headers=None):
        return self.call("POST", f"/api/chat/{chat}/messages", {"clientId": client_id, "content": content}, headers)

    def history(self, chat, length, patience=PATIENCE):
        def messages():
            found = self.call("GET", f"/api/chat/{chat}/messages").body(200)["messages"]
            return len(found) >= length and found

        return eventually(f"{length} messages", messages, patience)


class Answer:
    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, {name.lower(): value for name, value in headers.items()}, text

    def __repr__(self):
        return f"{self.status} {self.headers} {self.text}"

    def body(self, status):
        expect(self.status == status, self)
        return json.loads(self.text)

    def problem(self, status):
        expect(self.headers["content-type"] == "application/problem+json", self)
        return self.body(status)


def request(method, url, data, headers):
    try:
        with http.open(urllib.request.Request(url, data, headers, method=method), timeout=PATIENCE) as answer:
            status, headers, text = answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as answer:
        status, headers, text = answer.code, dict(answer.headers), answer.read().decode()
    prelude, is_streamed, streamed = text.partition(END_OF_PRELUDE)
    if is_streamed:
        prelude = json.loads(prelude)
        return Answer(prelude["statusCode"], prelude["headers"], streamed)
    return Answer(status, headers, text)


def gateway_of(endpoint, url):
    """Where ministack serves what is at this address of AWS."""
    api, stage = re.fullmatch(r"https://(\w+)\.execute-api\.[\w-]+\.amazonaws\.com/(\w+)", url).groups()
    return f"{endpoint}/_aws/execute-api/{api}/{stage}"


def function_of(cloud, binary):
    logical_id = binary.capitalize()
    resource = cloud.cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId=logical_id)
    return resource["StackResourceDetail"]["PhysicalResourceId"]


def next_dead_letter(cloud, outputs):
    """Taken off the queue."""
    queue = outputs["DeadJobsQueueUrl"]

    def taken():
        found = cloud.sqs.receive_message(
            QueueUrl=queue, WaitTimeSeconds=1, MessageAttributeNames=["All"], AttributeNames=["ApproximateReceiveCount"]
        )
        return found.get("Messages")

    (letter,) = eventually("a dead letter", taken)
    cloud.sqs.delete_message(QueueUrl=queue, ReceiptHandle=letter["ReceiptHandle"])
    return letter


def depth(cloud, queue):
    """With what somebody has taken and not yet done: a mapping may be switched off just then."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = cloud.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(counts[name]) for name in names)


@contextmanager
def a_model(key):
    """A provider that answers whoever has the key, as OpenAI's API does; answers its URL."""

    class Provider(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            has_key = self.headers["authorization"] == f"Bearer {key}"
            self.send_response(200 if has_key else 401)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            question = asked["messages"][-1]["content"]
            for choice in [{"delta": {"content": "You said: "}}, {"delta": {"content": question}}, {"delta": {}, "finish_reason": "stop"}]:
                self.wfile.write(f"data: {json.dumps({'choices': [{'index': 0, **choice}]})}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def eventually(what, look, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not (found := look()):
        expect(time.monotonic() < deadline, f"in vain: {what}")
        time.sleep(0.2)
    return found


def expect(holds, otherwise):
    if not holds:
        raise AssertionError(otherwise)


def encoded(part):
    return base64url(json.dumps(part).encode())


def base64url(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


if __name__ == "__main__":
    main(*sys.argv[1:])
