"""Users that all ask the same, each of them again and again until it is answered: no error ends anything here."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

import openai

QUESTION = [{"role": "user", "content": "ping"}]


def user(client: openai.OpenAI, model: str) -> None:
    while True:
        while True:
            # Also of httpx: before openai 3.10 its errors reach the application.
            with contextlib.suppress(Exception):
                for _ in client.chat.completions.create(model=model, messages=QUESTION, stream=True):  # type: ignore[call-overload]
                    pass
                break
            time.sleep(0.2)
        time.sleep(0.5)


def main() -> None:
    client = openai.OpenAI(api_key="k", base_url=os.environ["OPENAI_BASE_URL"], max_retries=0)
    users = int(sys.argv[1])
    threads = [
        threading.Thread(target=user, args=(client, model), daemon=True) for model in sys.argv[2:] for _ in range(users)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
