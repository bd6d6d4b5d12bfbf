"""Plays the golden files to the providers' own SDKs: what our tests take each of them to mean, the SDK must understand as
well, and what we ask must be what the SDK asks.

Each case of cases.json has what the SDK makes of it under "sdk": the reason to finish, or the class and the status of the
error. Texts and tokens are those that our own tests expect.
"""

import base64
import binascii
import json
import struct
import sys
import threading
import typing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anthropic
import anthropic.types.message_create_params
import botocore.config
import botocore.exceptions
import botocore.session
import openai
import openai.types.chat.completion_create_params
import pydantic
from google import genai
from google.genai import types

HOME = Path(__file__).parent
KEY = "golden-key"
MODEL = "golden-model"


class Golden(BaseHTTPRequestHandler):
    """`/{provider}/{case}/…` answers with that case. Remembers the last request: its path below the case, and its body."""

    protocol_version = "HTTP/1.1"
    path_seen = None
    body_seen = None

    def do_POST(self):
        _, provider, case, rest = self.path.split("/", 3)
        body = self.rfile.read(int(self.headers["content-length"]))
        Golden.path_seen, Golden.body_seen = "/" + rest, json.loads(body)
        stream = HOME / provider / f"{case}.sse"
        if stream.exists():
            self.stream("text/event-stream", stream.read_bytes())
            return
        answer = json.loads((HOME / provider / f"{case}.json").read_text())
        if "events" in answer:
            self.stream("application/vnd.amazon.eventstream", b"".join(frame(*event) for event in answer["events"]))
        else:
            self.refuse(answer)

    def stream(self, content_type, data):
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        # Pieces that respect neither events nor characters.
        for start in range(0, len(data), 7):
            piece = data[start : start + 7]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def refuse(self, refusal):
        body = json.dumps(refusal["body"]).encode()
        self.send_response(refusal["status"])
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in refusal.get("headers", {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def frame(name, payload):
    """A frame of an AWS event stream; the name of an exception begins with `!`."""
    kind, of = ("exception", ":exception-type") if name.startswith("!") else ("event", ":event-type")
    headers = b""
    for key, value in ((":message-type", kind), (of, name.lstrip("!")), (":content-type", "application/json")):
        key, value = key.encode(), value.encode()
        headers += struct.pack("!B", len(key)) + key + struct.pack("!BH", 7, len(value)) + value
    payload = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", binascii.crc32(message))


def load(name):
    return json.loads((HOME / name).read_text())


PROMPT = load("prompt.json")


class Heard:
    """What an SDK made of an answer."""

    def __init__(self):
        self.text = ""
        self.finish = None
        self.blocked = None
        self.tokens = None
        self.error = None
        self.status = None


def hear_gemini(base, heard):
    client = genai.Client(
        api_key=KEY,
        http_options=types.HttpOptions(
            base_url=base, api_version="v1beta", retry_options=types.HttpRetryOptions(attempts=1)
        ),
    )
    contents = []
    for turn in PROMPT["turns"]:
        images = [
            types.Part.from_bytes(data=bytes.fromhex(image["hex"]), mime_type=image["mimeType"])
            for image in turn.get("images", [])
        ]
        role = "user" if turn["speaker"] == "person" else "model"
        contents.append(types.Content(role=role, parts=[*images, types.Part.from_text(text=turn["text"])]))
    config = types.GenerateContentConfig(
        system_instruction=PROMPT["system"], max_output_tokens=512, temperature=0.5
    )
    for chunk in client.models.generate_content_stream(model=MODEL, contents=contents, config=config):
        if chunk.prompt_feedback and chunk.prompt_feedback.block_reason:
            heard.blocked = chunk.prompt_feedback.block_reason.name
        for candidate in chunk.candidates or []:
            parts = (candidate.content and candidate.content.parts) or []
            heard.text += "".join(part.text or "" for part in parts if not part.thought)
            heard.finish = candidate.finish_reason.name if candidate.finish_reason else None
        if usage := chunk.usage_metadata:
            output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
            heard.tokens = [usage.prompt_token_count, output, usage.cached_content_token_count or 0]


def hear_openai(base, heard):
    client = openai.OpenAI(api_key=KEY, base_url=base + "/v1", max_retries=0)
    messages = [{"role": "system", "content": PROMPT["system"]}]
    for turn in PROMPT["turns"]:
        role = "user" if turn["speaker"] == "person" else "assistant"
        content = turn["text"]
        if images := turn.get("images"):
            content = [
                {"type": "image_url", "image_url": {"url": data_url(image)}} for image in images
            ] + [{"type": "text", "text": turn["text"]}]
        messages.append({"role": role, "content": content})
    stream = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        max_tokens=512,
        temperature=0.5,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        for choice in chunk.choices:
            heard.text += choice.delta.content or ""
            heard.finish = choice.finish_reason or heard.finish
        if usage := chunk.usage:
            heard.tokens = [
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.prompt_tokens_details.cached_tokens,
            ]


def hear_anthropic(base, heard):
    client = anthropic.Anthropic(api_key=KEY, base_url=base, max_retries=0)
    messages = []
    for turn in PROMPT["turns"]:
        role = "user" if turn["speaker"] == "person" else "assistant"
        images = [
            {
                "type": "image",
                "source": {"type": "base64", "media_type": image["mimeType"], "data": base64_of(image)},
            }
            for image in turn.get("images", [])
        ]
        messages.append({"role": role, "content": [*images, {"type": "text", "text": turn["text"]}]})
    with client.messages.stream(
        model=MODEL, max_tokens=512, system=PROMPT["system"], messages=messages
    ) as stream:
        for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                heard.text += event.delta.text
            message = stream.current_message_snapshot
            usage = message.usage
            heard.finish = message.stop_reason
            cached = usage.cache_read_input_tokens or 0
            heard.tokens = [
                usage.input_tokens + (usage.cache_creation_input_tokens or 0) + cached,
                usage.output_tokens,
                cached,
            ]


def hear_bedrock(base, heard):
    client = botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=base,
        aws_access_key_id="AKID",
        aws_secret_access_key=KEY,
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    messages = []
    for turn in PROMPT["turns"]:
        role = "user" if turn["speaker"] == "person" else "assistant"
        images = [
            {"image": {"format": image["mimeType"].removeprefix("image/"), "source": {"bytes": bytes.fromhex(image["hex"])}}}
            for image in turn.get("images", [])
        ]
        messages.append({"role": role, "content": [*images, {"text": turn["text"]}]})
    answer = client.converse_stream(
        modelId=MODEL,
        messages=messages,
        system=[{"text": PROMPT["system"]}],
        inferenceConfig={"maxTokens": 512, "temperature": 0.5},
    )
    for event in answer["stream"]:
        if delta := event.get("contentBlockDelta"):
            heard.text += delta["delta"].get("text", "")
        if stop := event.get("messageStop"):
            heard.finish = stop["stopReason"]
        if metadata := event.get("metadata"):
            usage = metadata["usage"]
            cached = usage.get("cacheReadInputTokens", 0)
            total = usage["inputTokens"] + usage.get("cacheWriteInputTokens", 0) + cached
            heard.tokens = [total, usage["outputTokens"], cached]


def base64_of(image):
    return base64.b64encode(bytes.fromhex(image["hex"])).decode()


def data_url(image):
    return f"data:{image['mimeType']};base64,{base64_of(image)}"


def hear(ask, base):
    heard = Heard()
    try:
        ask(base, heard)
    except (genai.errors.APIError, openai.APIError, anthropic.APIError) as error:
        heard.error = type(error).__name__
        heard.status = getattr(error, "status_code", None) or getattr(error, "code", None)
    except botocore.exceptions.EventStreamError as error:
        heard.error, heard.status = type(error).__name__, error.response["Error"]["Code"]
    except botocore.exceptions.ClientError as error:
        heard.error = error.response["Error"]["Code"]
        heard.status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return heard


def differences(case, heard):
    sdk = case["sdk"]
    yield "text", "".join(case.get("texts", [])), heard.text
    yield "error", sdk.get("error"), heard.error
    if "error" in sdk:
        if "status" in sdk:
            yield "status", sdk["status"], heard.status
        return
    yield "finish", sdk["finish"], heard.finish
    yield "blocked", sdk.get("blocked"), heard.blocked
    tokens = case["end"].get("tokens") or case.get("counted")
    if tokens:
        yield "tokens", tokens, heard.tokens


def camel_case(name):
    """Google takes both spellings of a field, and its SDK mixes them."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def lacking(ours, theirs, place=""):
    """Where `theirs` is not at least `ours`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        theirs |= {camel_case(name): value for name, value in theirs.items()}
        for name, value in ours.items():
            yield from lacking(value, theirs.get(name), f"{place}/{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (a, b) in enumerate(zip(ours, theirs)):
            yield from lacking(a, b, f"{place}/{index}")
    elif ours != theirs:
        yield place, ours, theirs


def unknown(request, shape):
    """Fields of our request that the SDK's type of it does not have, or has otherwise."""
    known = typing.get_type_hints(shape)
    yield from ((f"/{name}", "a field the SDK knows", value) for name, value in request.items() if name not in known)
    try:
        pydantic.TypeAdapter(shape).validate_python(request)
    except pydantic.ValidationError as error:
        yield from (("/".join(map(str, one["loc"])), one["msg"], one["input"]) for one in error.errors())


PROVIDERS = {
    "gemini": (hear_gemini, None),
    "openai": (hear_openai, openai.types.chat.completion_create_params.CompletionCreateParamsStreaming),
    "bedrock": (hear_bedrock, None),
    "anthropic": (hear_anthropic, anthropic.types.message_create_params.MessageCreateParamsStreaming),
}


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Golden)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wrong = proven = 0
    for provider, (ask, shape) in PROVIDERS.items():
        request = load(f"{provider}/request.json")
        for case in load(f"{provider}/cases.json"):
            heard = hear(ask, f"http://127.0.0.1:{server.server_port}/{provider}/{case['name']}")
            found = [one for one in differences(case, heard) if one[1] != one[2]]
            found += lacking(request["body"], Golden.body_seen, "request")
            found += lacking(request["path"], Golden.path_seen, "path")
            proven += 1
            wrong += bool(found)
            for what, expected, seen in found:
                print(f"{provider} {case['name']}: {what} is {seen!r}, not {expected!r}")
        for what, expected, seen in unknown(request["body"], shape) if shape else ():
            wrong += 1
            print(f"{provider} request: {what} is {seen!r}, not {expected!r}")
    print(f"{proven} golden cases played to the SDKs, {wrong} of them wrong")
    return 1 if wrong or not proven else 0


if __name__ == "__main__":
    sys.exit(main())
