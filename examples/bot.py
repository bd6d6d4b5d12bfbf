"""A bot: answers "pong" to each message that says "ping". API_URL and TOKEN come from the environment; `--once` ends it after one.

It polls its unread messages. The ETag makes a poll cheap while nothing happens, and `pollAfterMs` says when to ask again.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request


def call(method, path, body=None, headers=None):
    """The status, the body and the ETag of an answer."""
    request = urllib.request.Request(
        os.environ["API_URL"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {os.environ['TOKEN']}", "content-type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None, answer.headers.get("ETag")
    except urllib.error.HTTPError as error:
        if error.code == 304:
            return 304, None, None
        problem = json.load(error)
        if problem["retryable"]:
            time.sleep(float(error.headers.get("Retry-After") or 5))
            return error.code, None, None
        raise SystemExit(f"{problem['type']}: {problem['detail']}") from error


def answer(message):
    """Answers a message. The key names the message, so a bot that restarts never answers twice."""
    path = f"/api/chat/{message['chatId']}/messages"
    call("POST", path, {"clientId": f"pong-{message['id']}", "content": "pong", "replyTo": message["id"]})


def main():
    tag, wait = None, 1.0
    while True:
        status, unread, new_tag = call("GET", "/api/chat-messages", headers={"If-None-Match": tag} if tag else {})
        if status == 200:
            tag, wait = new_tag, unread["pollAfterMs"] / 1000
            pings = [message for message in unread["messages"] if message["content"].strip().lower() == "ping"]
            for message in pings:
                answer(message)
            if unread["messages"]:
                call("POST", "/api/chat-messages/mark-read", {"messageIds": [message["id"] for message in unread["messages"]]})
            if pings and "--once" in sys.argv[1:]:
                return
        else:
            wait = min(wait * 1.5, 30)
        time.sleep(wait)


if __name__ == "__main__":
    main()
