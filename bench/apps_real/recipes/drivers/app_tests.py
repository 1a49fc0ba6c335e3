"""An app's own tests, with fixtures and threads."""
import asyncio, os, threading
import pytest
from ask import aask, ask
MODE = os.environ["MODE"]
@pytest.fixture(autouse=True)
def loop(): yield
def test_sync(): assert ask(MODE).endswith("tok29 ")
def test_async(): assert asyncio.run(aask(MODE)).endswith("tok29 ")
def test_thread():
    said = []
    thread = threading.Thread(target=lambda: said.append(ask(MODE))); thread.start(); thread.join()
    assert said
