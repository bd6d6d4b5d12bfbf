"""An agent: tells a user how a task goes, and asks a question. API_URL and TOKEN (with the agent role) come from the environment.

    agent.py USER_ID TASK_ID
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request


def send(notice):
    """Sends a notice. It has a key, so a retry is the same notice."""
    request = urllib.request.Request(
        f"{os.environ['API_URL']}/api/chat-messages",
        data=json.dumps(notice).encode(),
        headers={"authorization": f"Bearer {os.environ['TOKEN']}", "content-type": "application/json"},
    )
    for attempt in range(5):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            if not problem["retryable"]:
                raise SystemExit(f"{problem['type']}: {problem['detail']}") from error
            wait = float(error.headers.get("Retry-After") or 2**attempt)
        except urllib.error.URLError:
            wait = 2**attempt
        time.sleep(wait)
    raise SystemExit("the API does not answer")


def main():
    user, task = sys.argv[1:3]
    notice = {"userId": user, "taskId": task}
    send({**notice, "type": "INFO", "content": "I am looking for a free slot.", "key": f"{task}-begun"})
    asked = send(
        {
            **notice,
            "type": "CLARIFICATION",
            "content": "Does Tuesday at ten suit you?",
            "data": {"slot": "2026-12-01T10:00:00Z"},
            "priority": "high",
            "key": f"{task}-slot",
        }
    )
    print(f"asked as {asked['messageId']}; the answer comes by the webhook clarification.answered")


if __name__ == "__main__":
    main()
