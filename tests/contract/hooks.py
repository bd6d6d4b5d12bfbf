"""How schemathesis calls Backtalk: as somebody whose chats are there, and what is counted meanwhile.

A part of a request that is good by its schema is filled with what is there, most of the time; one that is bad on purpose
stays as it is.
"""

import atexit
import json
import os
import random
import sys
import uuid
from collections import Counter, defaultdict
from pathlib import Path

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from world import Spent, World, session, signed_by_pusher

# Whatever is generated, this much of it is left as it is,
AS_GENERATED = 0.15
# but not where it would take away what all others are called with: schemathesis remembers ids that it was answered.
TAKES_AWAY = {"deleteChat", "deleteMessage", "deletePost", "removeMember", "blockPerson", "updateMember"}

chance = random.Random(int(os.environ["CONTRACT_SEED"]))
world = World()
calls = defaultdict(Counter)
gateway = Counter()


@atexit.register
def save():
    figures = {"calls": {name: dict(statuses) for name, statuses in calls.items()}, "gateway": dict(gateway)}
    Path(os.environ["CONTRACT_FIGURES"]).write_text(json.dumps(figures))


def is_good(case, location):
    """Whether a part of the request is as its schema wants it."""
    component = case.meta and case.meta.components.get(location)
    return component is None or component.mode.is_positive


def chat_for(operation):
    """The chat that an operation does the most with."""
    if operation in ("sendMessage", "sendMessageToAssistant"):
        return chance.choice([world.direct, world.channel, world.assistant])
    if operation in ("regenerateReply", "stopReply", "joinReply"):
        return world.assistant
    if operation in ("deleteChat", "updateMember"):
        return world.fresh_channel()
    if operation in ("addMembers", "removeMember", "updateChat"):
        return world.channel
    return chance.choice([world.direct, world.channel])


def fill_path(operation, path):
    if "chatId" in path:
        path["chatId"] = chat_for(operation)
    if "messageId" in path:
        path["chatId"] = world.channel
        path["messageId"] = world.fresh_message() if operation == "deleteMessage" else world.message
    if operation == "joinReply":
        path["chatId"] = world.assistant
        path["messageId"] = world.running_answer() if chance.random() < 0.3 else world.answer
    if "postId" in path:
        path["postId"] = world.fresh_post()["id"] if operation == "deletePost" else world.post
    if "taskId" in path:
        path["taskId"] = world.task
    if "index" in path:
        path["index"] = 0
    if "emoji" in path:
        path["emoji"] = chance.choice(["👍", "🎉", ":party_parrot:"])
    if "userId" in path:
        path["userId"] = world.ben.id
    if operation in ("removeMember", "blockPerson", "unblockPerson"):
        # Ben stays: others are met with him.
        path["userId"] = world.fresh_person().id
    if operation == "removeMember":
        world.anna.call("POST", f"/api/chat/{path['chatId']}/members", {"members": [path["userId"]]})


def fill_query(operation, query):
    if "chatId" in query:
        query["chatId"] = world.channel
    # Those that exclude one another, and what only an earlier answer can have said.
    bounds = [name for name in ("after", "before", "changedAfter") if name in query]
    if operation == "listMessages":
        for name in bounds[1:]:
            del query[name]
    query.pop("cursor", None)


def fill_body(operation, body):
    if operation == "createChat":
        body["kind"] = chance.choice(["direct", "channel", "assistant"])
        if body["kind"] == "direct":
            body["members"] = [world.ben.id]
            body.pop("title", None)
        if body["kind"] == "assistant":
            body.pop("members", None)
        if body["kind"] == "channel":
            body["title"], body["members"] = body.get("title") or "All", [world.ben.id]
    if operation in ("sendMessage", "sendMessageToAssistant", "editMessage"):
        if "clientId" in body and chance.random() < 0.5:
            body["clientId"] = uuid.uuid4().hex
        for name in ("mentions", "replyTo"):
            body.pop(name, None)
        for number, attachment in enumerate(body.get("attachments") or []):
            attachment["url"] = f"https://example.com/{number}.png"
    if operation == "addMembers":
        body["members"] = [world.ben.id]
    if operation == "updateMember":
        body["role"] = "admin"
    if operation == "regenerateReply" or operation == "stopReply":
        body.pop("messageId", None)
    if operation == "markChatRead" and body.get("seq") is not None:
        body.pop("unreadFrom", None)
    if operation == "markMessagesRead":
        body["messageIds"] = [world.message, world.notice]
    if operation == "sendNotice":
        body["userId"] = world.anna.id
    if operation == "createAttachment":
        body["mimeType"], body["size"] = "image/png", min(body["size"], 1024)
    if operation == "updatePost":
        body.pop("status", None)
    if operation == "authorizePusher":
        body["channel_name"] = f"presence-chat-{world.channel}"


@schemathesis.hook
def before_call(context, case, kwargs):
    global world
    operation = case.operation.definition.raw["operationId"]
    headers = case.headers
    if operation in TAKES_AWAY or chance.random() > AS_GENERATED:
        if case.path_parameters and is_good(case, ParameterLocation.PATH):
            try:
                fill_path(operation, case.path_parameters)
            except Spent:
                world = World()
                fill_path(operation, case.path_parameters)
        if operation == "streamEvents" and is_good(case, ParameterLocation.HEADER):
            # From the beginning there is enough to be told at once; whoever begins now waits.
            headers.pop("Last-Event-ID", None)
            if is_good(case, ParameterLocation.QUERY):
                case.query["after"] = "0"
        if case.query and is_good(case, ParameterLocation.QUERY):
            fill_query(operation, case.query)
        if isinstance(case.body, dict) and is_good(case, ParameterLocation.BODY):
            fill_body(operation, case.body)
    caller = world.agent if operation == "sendNotice" else world.anna
    if "bearer" in {name for needed in case.operation.definition.raw["security"] for name in needed}:
        headers["Authorization"] = f"Bearer {caller.token}"
    if operation in ("sendMessage", "sendMessageToAssistant", "regenerateReply", "getAttachment"):
        headers["Accept"] = chance.choice(["application/json", "text/event-stream", "*/*"])
    if operation == "receivePusherWebhook" and chance.random() > AS_GENERATED:
        body = json.dumps(case.body).encode() if isinstance(case.body, (dict, list)) else b"null"
        kwargs["data"] = body
        headers.update({"Content-Type": "application/json", **signed_by_pusher(body)})


@schemathesis.hook
def after_call(context, case, response):
    global world
    calls[case.operation.label][str(response.status_code)] += 1
    if response.status_code == 429 and b"quota-exceeded" in response.content:
        # Somebody with a budget of her own.
        world = World()


def is_of_the_gateway(response):
    """`cargo lambda watch` has problems of its own, which no function of ours writes."""
    return response.status_code == 500 and b'"https://httpstatuses.com/500"' in response.content


def is_utf8(data):
    try:
        (data or b"").decode() if isinstance(data, (bytes, type(None))) else data.encode()
    except UnicodeError:
        return False
    return True


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """What the local gateway does wrong by itself, and API Gateway does not."""
    if not is_of_the_gateway(response):
        return True
    request = response.request
    # Headers go out as Latin-1.
    headers = [value if isinstance(value, bytes) else value.encode("latin-1", "replace") for value in request.headers.values()]
    if not all(map(is_utf8, [request.body, *headers])):
        gateway["takes no bytes that are no UTF-8"] += 1
        return False
    # A lost answer comes when it is asked for again; what a function of ours cannot answer never does.
    again = session.send(request, timeout=30)
    if again.status_code < 500:
        gateway["loses an answer"] += 1
        print(f"lost: {request.method} {request.url} {again.status_code}", file=sys.stderr)
        return False
    return True
