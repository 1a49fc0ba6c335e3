"""The fixtures that other people's tests get, in runs of pytest of their own."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
STRICT = ("-p", "streamvitals", "-W", "error", "-p", "no:cacheprovider")
CUT = """
import openai

def ask(url):
    client = openai.OpenAI(base_url=url, api_key="any", max_retries=0)
    with client:
        with client.chat.completions.create(model="gpt-4o", messages=[], stream=True) as stream:
            return sum(1 for chunk in stream)
"""


def run(pytester: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    """Run one file of tests as anybody would, where a warning is an error."""
    pytester.makepyfile(test)
    return pytester.runpytest_subprocess(*STRICT, *arguments)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins of ours or of others that are installed here must not matter."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def test_pytest_finds_it_by_the_name_that_people_turn_off() -> None:
    (found,) = importlib.metadata.entry_points(group="pytest11", name="streamvitals")
    assert found.value == "streamvitals.pytest_plugin"


def test_the_example_of_the_page(pytester: pytest.Pytester) -> None:
    blocks = re.findall(r"^```python\n# (\w+)\.py\n(.+?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    for name, source in blocks:
        pytester.path.joinpath(f"{name}.py").write_text(source)
    assert [name for name, _ in blocks] == ["app", "test_app"]
    pytester.runpytest_subprocess(*STRICT, "-p", "no:randomly").assert_outcomes(passed=1, xfailed=1)


def test_every_test_begins_anew_at_the_same_address(pytester: pytest.Pytester) -> None:
    done = run(pytester, CUT + """
urls = []

def test_cut(streamvitals_faults, streamvitals_records):
    urls.append(streamvitals_faults.base_url)
    streamvitals_faults.play("silent-cut?after=2")
    streamvitals_faults.by_model["gpt-4"] = "429"
    assert ask(streamvitals_faults.base_url) == 2
    assert [(r.outcome.value, r.error_type) for r in streamvitals_records] == [("truncated", "missing_terminal")]

def test_whole(streamvitals_faults, streamvitals_records):
    assert [streamvitals_faults.base_url] == urls
    assert not streamvitals_faults.log and not streamvitals_faults.by_model and not streamvitals_records
    assert ask(streamvitals_faults.base_url) == 9
    assert [entry.scenario for entry in streamvitals_faults.log] == ["ok"]
    assert [record.outcome.value for record in streamvitals_records] == ["completed"]
""")
    done.assert_outcomes(passed=2)


def test_until_a_fixture_is_used_it_imports_nothing_but_pytest(pytester: pytest.Pytester) -> None:
    done = run(pytester, """
import sys

def test_loaded():
    ours = {name for name in sys.modules if name.partition(".")[0] == "streamvitals"}
    assert ours == {"streamvitals", "streamvitals._version", "streamvitals.pytest_plugin"}
    assert not {"openai", "httpx", "prometheus_client", "opentelemetry"} & set(sys.modules)
""")
    done.assert_outcomes(passed=1)


def test_it_can_be_turned_off(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    pytester.makepyfile("def test(streamvitals_faults): pass")
    done = pytester.runpytest_subprocess("-p", "no:streamvitals", "-p", "no:cacheprovider")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*fixture 'streamvitals_faults' not found*"])


def test_in_several_processes_at_once(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    done = run(pytester, CUT + """
import pytest

@pytest.mark.parametrize("after", range(4))
def test(after, streamvitals_faults, streamvitals_records):
    streamvitals_faults.play(f"silent-cut?after={after + 1}")
    assert ask(streamvitals_faults.base_url) == after + 1
    assert len(streamvitals_records) == 1
""", "-p", "xdist", "-n", "2")
    done.assert_outcomes(passed=4)


def test_an_application_that_observes_itself_goes_on_doing_so(pytester: pytest.Pytester) -> None:
    done = run(pytester, CUT + """
import prometheus_client
import pytest
import streamvitals
from streamvitals.config import Config
from streamvitals.testing import recorded

streamvitals.instrument(config=Config(quiet=True))
heard = []

def counted():
    return prometheus_client.REGISTRY.get_sample_value("streamvitals_chunk_gap_seconds_count", {
        "gen_ai_operation_name": "chat", "gen_ai_provider_name": "other", "gen_ai_request_model": "gpt-4o",
        "server_address": "127.0.0.1",
    })

@pytest.mark.parametrize("after", [2, 3])
def test(after, streamvitals_faults, streamvitals_records):
    streamvitals_faults.play(f"silent-cut?after={after}")
    ask(streamvitals_faults.base_url)
    assert [record.chunks for record in streamvitals_records] == [after]
    heard.append(streamvitals_records)
    assert [len(records) for records in heard] == [1] * len(heard)
    assert counted() == after - 1 + (after == 3)

def test_its_configuration_stays():
    with pytest.raises(RuntimeError, match="configuration of its own"), recorded(Config()):
        pass
""")
    done.assert_outcomes(passed=3)


def test_pytest_does_not_warn_of_what_an_observed_program_has_loaded(tmp_path: Path) -> None:
    """pytest marks the whole distribution of a plugin, and warns of what is loaded already, unless told not to."""
    (tmp_path / "marks.py").write_text("""
import sys
import warnings
import streamvitals.testing
from _pytest.assertion.rewrite import AssertionRewritingHook

class Config:
    def getini(self, name):
        return []
    def issue_config_time_warning(self, warning, stacklevel):
        sys.exit(f"warned: {warning}")

AssertionRewritingHook(Config()).mark_rewrite("streamvitals")
""")
    done = subprocess.run([sys.executable, tmp_path / "marks.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_its_fixtures_are_listed_with_what_they_are(pytester: pytest.Pytester) -> None:
    listed = pytester.runpytest_subprocess(*STRICT, "--fixtures").stdout.str()
    assert "streamvitals_faults" in listed
    assert "streamvitals_records" in listed
    assert "_streamvitals_fault_server" not in listed
    assert "no docstring available" not in listed.partition("fixtures defined from streamvitals")[2]
