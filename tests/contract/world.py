"""People with something to call by: chats, messages, posts and tasks, so that generated requests meet what is there."""

import base64
import hashlib
import hmac
import json
import os
import time
import uuid

import requests

API = os.environ["API_URL"]
PATIENCE = 30

session = requests.Session()
# The stack is on this machine, whatever way our environment has to the world.
session.trust_env = False


def signed(claims):
    """A token, as the stack's own sign-in would make it."""

    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = {"iss": os.environ["JWT_ISSUER"], "aud": os.environ["JWT_AUDIENCE"], "exp": int(time.time()) + 7200, **claims}
    text = ".".join(part(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.new(os.environ["JWT_SECRET"].encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{part(signature)}"


def signed_by_pusher(body):
    """The headers of a webhook of the stack's Pusher application."""
    signature = hmac.new(os.environ["PUSHER_SECRET"].encode(), body, hashlib.sha256).hexdigest()
    return {"X-Pusher-Key": os.environ["PUSHER_KEY"], "X-Pusher-Signature": signature}


class Spent(Exception):
    """There is no budget for another answer."""


class Person:
    def __init__(self, name, **claims):
        self.id = f"{name}-{uuid.uuid4().hex}"
        self.token = signed({"sub": self.id, "name": name, **claims})

    def call(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}"}
        # The gateway loses an answer now and then.
        for _ in range(3):
            answer = session.request(method, API + path, json=body, headers=headers, timeout=PATIENCE)
            if answer.status_code != 500:
                break
        if answer.status_code == 429:
            raise Spent
        if not answer.ok:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None


class World:
    """Anna's: she is the caller of everything that is for people."""

    def __init__(self):
        self.anna, self.ben = Person("anna"), Person("ben")
        self.agent = Person("agent", role="agent")
        for person in (self.anna, self.ben):
            person.call("GET", "/api/me")
        self.direct = self.fresh_direct(self.ben)
        self.channel = self.fresh_channel()
        self.assistant = self.anna.call("POST", "/api/chat", {"kind": "assistant"})["chat"]["id"]
        attachments = [{"type": "image", "url": "https://example.com/a.png", "mimeType": "image/png"}]
        self.message = self.fresh_message(attachments)
        self.question = self.say(self.assistant, "Hello?")
        self.answer = self.awaited_answer()
        self.post = self.fresh_post()["id"]
        self.task = f"task-{uuid.uuid4().hex}"
        notice = {"userId": self.anna.id, "taskId": self.task, "type": "CLARIFICATION", "content": "Which day?"}
        self.notice = self.agent.call("POST", "/api/chat-messages", notice)["messageId"]

    def fresh_direct(self, person):
        return self.anna.call("POST", "/api/chat", {"kind": "direct", "members": [person.id]})["chat"]["id"]

    def fresh_channel(self):
        body = {"kind": "channel", "title": "All", "members": [self.ben.id]}
        return self.anna.call("POST", "/api/chat", body)["chat"]["id"]

    def fresh_message(self, attachments=()):
        return self.say(self.channel, "Hello, all.", attachments=list(attachments))

    def fresh_post(self):
        return self.anna.call("POST", "/api/posts", {"content": "Soon there is news."})["post"]

    def fresh_person(self):
        person = Person("carl")
        person.call("GET", "/api/me")
        return person

    def say(self, chat, content, **more):
        body = {"clientId": uuid.uuid4().hex, "content": content, **more}
        return self.anna.call("POST", f"/api/chat/{chat}/messages", body)["message"]["id"]

    def running_answer(self):
        """An answer that takes its time: its chat and its id."""
        script = "/script " + json.dumps({"words": 30, "delayMs": 30})
        body = {"clientId": uuid.uuid4().hex, "content": script}
        return self.anna.call("POST", f"/api/chat/{self.assistant}/messages", body)["reply"]["id"]

    def awaited_answer(self):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            messages = self.anna.call("GET", f"/api/chat/{self.assistant}/messages")["messages"]
            for message in messages:
                if message["role"] == "assistant":
                    return message["id"]
            time.sleep(0.1)
        raise AssertionError("the assistant has not answered")
