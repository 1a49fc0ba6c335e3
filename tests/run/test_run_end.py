"""How long the agent stays: with the app whatever is sent to both, not a moment longer than it is needed, and never in
the way of the next run."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest

from otlp_receiver import receiver
from run_support import RUN, App, alive, answered, environment, eventually, free_port, python, started

LONG = "900"
STREAM_THEN_WAIT = """
import openai
client = openai.OpenAI()
def stream(model):
    for _ in client.chat.completions.create(model=model, messages=[{"role": "user", "content": "q"}], stream=True):
        pass
stream("sv-ok")
print("streamed", flush=True)
"""


def wait_for_line(app: App, line: bytes) -> None:
    assert app.process.stdout is not None
    assert app.process.stdout.readline().strip() == line


def test_a_signal_to_all_of_a_service_leaves_the_agent_to_count_what_drains(server) -> None:
    """systemd's KillMode=control-group, Heroku, `kill -TERM -1`; and those that mean "reopen your files"."""
    code = STREAM_THEN_WAIT + "input()\nstream('sv-ok')\nprint('drained', flush=True)\ninput()\n"
    env = environment(server.base_url, STREAMVITALS_LINGER_SECONDS=LONG)
    with started(python("-c", code), env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as app:
        wait_for_line(app, b"streamed")
        agent = app.wait_for_agent()["agent_pid"]
        directory = app.directory()
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGALRM,
                       signal.SIGPROF, signal.SIGPOLL, signal.SIGRTMIN + 3, signal.SIGTERM, signal.SIGTERM):
            os.kill(agent, number)
        assert app.process.stdin is not None
        app.process.stdin.write(b"\n")
        app.process.stdin.flush()
        wait_for_line(app, b"drained")
        app.wait_for_streams("completed", 2)
        app.process.communicate(b"\n")
        # It had been told to go: it does not linger.
        eventually(lambda: not alive(agent), deadline=20)
        assert not os.path.exists(directory)


@pytest.mark.parametrize("told", [False, True])
def test_a_collector_that_is_silent_does_not_keep_the_agent(told: bool) -> None:
    """Its own patience would be longer than this test's."""
    with receiver() as collector:
        collector.hang = threading.Event()
        env = environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="100000", OTEL_TRACES_EXPORTER="none",
            STREAMVITALS_LINGER_SECONDS=LONG if told else "0",
        )
        with started(["/bin/sh", "-c", "read line"], env, stdin=subprocess.PIPE) as app:
            agent = app.wait_for_agent()["agent_pid"]
            directory = app.directory()
            if told:
                os.kill(agent, signal.SIGTERM)
            app.process.communicate(b"\n")
            eventually(lambda: not alive(agent))
            assert collector.attempts >= 1
            assert not os.path.exists(directory)


def test_a_signal_before_the_agent_knows_what_to_do_at_one() -> None:
    with started(["/bin/sh", "-c", "read line"], environment(), stdin=subprocess.PIPE) as app:
        directory = app.directory()
        agent = eventually(lambda: agent_of(directory), "a word of the agent's pid")
        for number in (signal.SIGTERM, signal.SIGURG, signal.SIGHUP, signal.SIGUSR1):
            os.kill(agent, number)
        assert app.wait_for_agent()["agent_pid"] == agent
        app.process.communicate(b"\n")
        eventually(lambda: not os.path.exists(directory))


def agent_of(directory: str) -> int:
    from streamvitals.agent.private_directory import read_facts

    pid, _, _ = str(read_facts(directory).get("agent", "")).partition("-")
    return int(pid or 0)


@pytest.mark.parametrize("quick", [False, True])
def test_the_next_run_gets_its_port_from_the_agent_of_an_app_that_has_gone(server, quick: bool) -> None:
    """A restart by a supervisor; at once, as after a crash, or when the agent has long been there."""
    env = environment(server.base_url, STREAMVITALS_LINGER_SECONDS=LONG)
    port = free_port()
    first = subprocess.Popen([*RUN, "--port", str(port), "--", *python("-c", STREAM_THEN_WAIT)], env=env)
    if not quick:
        eventually(lambda: answered(f"http://127.0.0.1:{port}/healthz"))
    assert first.wait() == 0
    with started(
        python("-c", STREAM_THEN_WAIT + "input()"), env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, port=port,
    ) as app:
        wait_for_line(app, b"streamed")
        app.wait_for_agent()
        app.wait_for_streams("completed", 1)
        said = app.process.communicate(b"\n")[1].decode()
        assert said.endswith(f"/, metrics are at http://localhost:{port}/metrics\n")


def test_a_port_is_not_taken_from_a_run_that_lives() -> None:
    env = environment()
    with started(["/bin/sh", "-c", "read line"], env, stdin=subprocess.PIPE) as app:
        before = app.wait_for_agent()["agent_pid"]
        done = subprocess.run(
            [*RUN, "--port", str(app.port), "--", "/bin/echo", "ran"], env=env, capture_output=True, text=True,
            check=True,
        )
        assert done.stdout == "ran\n"
        assert f"port {app.port} is not free" in done.stderr
        assert app.health()["agent_pid"] == before
        app.process.communicate(b"\n")


def test_a_daemon_that_the_app_leaves_behind_is_not_waited_for() -> None:
    """A gpg-agent, an ssh-agent, a D-Bus: they have the app's variables, and stay for ever."""
    reader, writer = os.pipe()
    leave = (
        "import subprocess\n"
        f"subprocess.Popen(['sh', '-c', 'read line <&{reader}'], start_new_session=True, pass_fds=[{reader}])"
    )
    double = (
        "import os\n"
        f"if os.fork() == 0:\n    os.setsid(); os.execvp('sh', ['sh', '-c', 'read line <&{reader}'])\n"
    )
    try:
        for code in (leave, double):
            env = environment(STREAMVITALS_LINGER_SECONDS="0")
            with started(python("-W", "ignore", "-c", code + "\ninput()"), env, stdin=subprocess.PIPE,
                         pass_fds=[reader]) as app:
                agent = app.wait_for_agent()["agent_pid"]
                app.process.communicate(b"\n")
                eventually(lambda: not alive(agent))  # noqa: B023
    finally:
        os.close(writer)
        os.close(reader)


def test_a_python_that_outlives_the_app_is_waited_for(server) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=0, start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
    )
    env = environment(server.base_url, STREAMVITALS_LINGER_SECONDS="0")
    with started(python("-W", "ignore", "-c", code), env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as app:
        assert app.process.stdout is not None
        child = int(app.process.stdout.readline())
        assert app.process.wait() == 0
        agent = app.wait_for_agent()["agent_pid"]
        eventually(lambda: app.health()["processes"]["seen"] >= 2)
        assert alive(child)
        assert app.process.stdin is not None
        app.process.stdin.close()
        eventually(lambda: not alive(agent))


def test_a_python_that_a_shell_starts_when_the_app_has_gone_is_watched(server) -> None:
    code = STREAM_THEN_WAIT + "input()"
    command = ["/bin/sh", "-c", '{ read line; "$0" -c "$1"; } <&3 & ', *python(code)]
    reader, writer = os.pipe()

    def on_three() -> None:
        os.dup2(reader, 3)

    env = environment(server.base_url)
    with started(command, env, preexec_fn=on_three, pass_fds=[3], stdout=subprocess.PIPE) as app:
        assert app.process.wait() == 0
        began = app.wait_for_agent()["uptime_seconds"]
        eventually(lambda: app.health()["uptime_seconds"] > began + 2)
        os.write(writer, b"go\n")
        wait_for_line(app, b"streamed")
        app.wait_for_streams("completed", 1)
        os.write(writer, b"end\n")
    os.close(reader)
    os.close(writer)


def test_a_main_process_that_is_no_python_is_waited_for() -> None:
    """Python entry points that become nginx or node."""
    code = "import os; os.execvp('sh', ['sh', '-c', 'echo became; read line'])"
    env = environment(STREAMVITALS_LINGER_SECONDS="0")
    with started(python("-c", code), env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as app:
        wait_for_line(app, b"became")
        agent = app.wait_for_agent()["agent_pid"]
        began = app.health()["uptime_seconds"]
        eventually(lambda: app.health()["uptime_seconds"] > began + 2)
        app.process.communicate(b"\n")
        eventually(lambda: not alive(agent))
