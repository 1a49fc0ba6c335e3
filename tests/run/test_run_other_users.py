"""`streamvitals run` of root, whose app becomes another user: what ends between two looks is counted too."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from run_support import UNSHARE, environment, eventually, python, started, total, unshare_works

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

# A worker per job, as RQ and Celery's max-tasks-per-child have it. The first stream loads, as root, whatever files
# nobody may not read; so do the clients, one for each process.
JOBS = """
import os, openai
jobs = 8
clients = [openai.OpenAI(max_retries=0) for _ in range(jobs + 1)]
def job():
    message = {"role": "user", "content": "hello"}
    for _ in clients.pop().chat.completions.create(model="sv-ok", messages=[message], stream=True): pass
job()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for _ in range(jobs):
    pid = os.fork()
    if pid == 0:
        try: job()
        finally: os._exit(0)
    os.waitpid(pid, 0)
    clients.pop()
print("done", flush=True)
input()
"""


def test_short_lived_children_of_a_process_that_dropped_its_rights_are_counted(server):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with started(python("-c", JOBS), environment(server.base_url), **pipes) as app:
        assert app.process.stdout.readline() == "done\n"
        directory = Path(app.directory())
        app.wait_for_streams("completed", 9)
        assert total(app.samples(), "streamvitals_internal_errors_total") == 0
        assert app.health()["status"] == "ok"
        # Two of the app itself, `run` and the Python that it became, and what it counts.
        eventually(lambda: len(os.listdir(directory)) == 3, "only what is of the living")
        assert {name.partition("-")[0] for name in os.listdir(directory)} == {str(app.pid)}


WORKER = JOBS[: JOBS.index("for _ in range(jobs):")] + """
if os.fork() == 0:
    try:
        job()
        print("done", flush=True)
        input()
    finally: os._exit(0)
os.wait()
"""


@pytest.mark.skipif(not unshare_works(), reason="needs a pid namespace of its own")
@pytest.mark.parametrize("container", [(), UNSHARE])
def test_a_worker_of_another_user_is_counted_also_within_a_pid_namespace(server, container):
    """Its pid is another one there, which here may be anybody's."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with started([*container, *python("-c", WORKER)], environment(server.base_url), **pipes) as app:
        assert app.process.stdout.readline() == "done\n"
        app.wait_for_streams("completed", 2)
        assert total(app.samples(), "streamvitals_internal_errors_total") == 0
        app.process.communicate("\n")
        app.wait_for_streams("completed", 2)
