"""The `sitecustomize` that every Python of an app finds: it reports in, hooks, chains, and is gone."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
import zipapp
from pathlib import Path

import pytest

import streamvitals
from inject_support import PRIVATE_MODULES, VIEW, Chain, inside, old_interpreters, registrations, view
from run_support import APPS, environment, eventually, python, started, total
from streamvitals.run.launch import INJECT


def test_reports_in_and_leaves_no_trace(directory):
    bare = view(python("-c", VIEW), environment())
    seen = view(python("-c", VIEW), inside(directory))
    assert sorted({*bare["modules"], *PRIVATE_MODULES}) == seen["modules"]
    assert seen["path"] == bare["path"]
    assert seen["finders"] == ["<class '_streamvitals_importhook._Finder'>", *bare["finders"]]
    (identity, said), = registrations(directory).items()
    assert identity.pid == seen["pid"]
    assert said.kind == "python"


def test_directory_that_is_gone_costs_nothing(tmp_path):
    bare = view(python("-c", VIEW), environment())
    seen = view(python("-c", VIEW), inside(tmp_path / "gone"))
    assert [m for m in seen["modules"] if m not in bare["modules"]] == ["_streamvitals_registration"]
    assert seen["finders"] == bare["finders"]


def test_disabled(directory):
    bare = view(python("-c", VIEW), environment())
    seen = view(python("-c", VIEW), inside(directory, OTEL_SDK_DISABLED="true"))
    assert (seen["modules"], seen["finders"]) == (bare["modules"], bare["finders"])
    assert registrations(directory) == {}


@pytest.mark.parametrize(
    "options", [("-W", "error"), ("-X", "dev", "-W", "error"), ("-bb",), ("-O",), ("-v",), ("-P",)]
)
def test_options_of_the_interpreter(directory, options):
    if options == ("-P",) and sys.version_info < (3, 11):
        pytest.skip("no such option")
    done = subprocess.run(
        python(*options, "-c", "print('ran')"), env=inside(directory), capture_output=True, check=True, text=True
    )
    assert done.stdout == "ran\n"
    if options != ("-v",):
        assert done.stderr == ""
    assert len(registrations(directory)) == 1


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_options_that_keep_it_out(directory, option):
    done = subprocess.run(python(option, "-c", "print('ran')"), env=inside(directory), capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"ran\n", b"")
    assert registrations(directory) == {}


@pytest.mark.parametrize("interpreter", old_interpreters() or [pytest.param("", marks=pytest.mark.skip("none here"))])
def test_old_interpreters_pass_through(directory, tmp_path, interpreter):
    (tmp_path / "sitecustomize.py").write_text("MARK = 'theirs'\n")
    seen = view([interpreter, "-c", VIEW], inside(directory, tmp_path))
    bare = view([interpreter, "-c", VIEW], environment(PYTHONPATH=str(tmp_path)))
    assert seen.pop("pid") != bare.pop("pid")
    assert seen == bare
    assert seen["hook"] == "theirs"
    assert registrations(directory) == {}


def test_interpreters_of_other_versions(directory):
    """Whatever else is installed beside this one: the same files serve them all."""
    tried = 0
    for path in sorted(Path(sys.base_prefix).parent.glob("3.1[0-9].*/bin/python3")):
        view([str(path), "-W", "error", "-c", VIEW], inside(directory))
        tried += 1
        assert len(registrations(directory)) == tried
    if not tried:
        pytest.skip("none here")


def test_next_sitecustomize_runs(directory, tmp_path):
    chain = Chain(tmp_path, "MARK = [__name__, __file__]\n")
    seen = view(python("-c", VIEW), inside(directory, chain.folder))
    assert seen["hook"] == ["sitecustomize", str(chain.folder / "sitecustomize.py")]
    assert seen["path"] == view(python("-c", VIEW), environment(PYTHONPATH=str(chain.folder)))["path"]


def test_next_sitecustomize_may_be_a_package(directory, tmp_path):
    package = tmp_path / "theirs" / "sitecustomize"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .inner import MARK\n")
    (package / "inner.py").write_text("MARK = 'a package'\n")
    assert view(python("-c", VIEW), inside(directory, package.parent))["hook"] == "a package"


@pytest.mark.parametrize("text", [
    "raise ValueError('theirs')\n",
    "import there_is_no_such_module\n",
    "raise ImportError('theirs', name='sitecustomize')\n",
    "raise SystemExit(7)\n",
    "import sys; sys.path.insert(0, '/inserted'); sys.path.append('/appended')\n",
    "this is no Python\n",
])
def test_what_the_next_one_does_is_done(directory, tmp_path, text):
    chain = Chain(tmp_path, text)
    bare = chain.run(environment(PYTHONPATH=str(chain.folder)))
    seen = chain.run(inside(directory, chain.folder))
    assert seen[0] == bare[0]
    # Where the interpreter prints a traceback there is a frame of ours in it.
    assert [*seen[2].splitlines()[:1], *seen[2].splitlines()[-1:]] == [
        *bare[2].splitlines()[:1], *bare[2].splitlines()[-1:]
    ]
    if bare[1]:
        assert json.loads(seen[1])["path"] == json.loads(bare[1])["path"]


def test_folder_in_front_that_has_none(directory, tmp_path):
    text = "import sys; sys.path.insert(0, '/inserted')\n"
    chain, front = Chain(tmp_path, text), tmp_path / "front"
    front.mkdir()
    env = inside(directory, chain.folder)
    env["PYTHONPATH"] = os.pathsep.join([str(front), env["PYTHONPATH"]])
    bare = view(python("-c", VIEW), environment(PYTHONPATH=os.pathsep.join([str(front), str(chain.folder)])))
    assert view(python("-c", VIEW), env)["path"] == bare["path"]


def test_one_in_front_that_chains_is_not_run_twice(directory, tmp_path):
    """As New Relic's does it: finds the next one by hand and leaves its own folder on the path."""
    chain = Chain(tmp_path, """
import os, sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
here = os.path.dirname(__file__)
sys.argv_seen = getattr(sys, "argv_seen", 0) + 1
spec = PathFinder.find_spec("sitecustomize", [p for p in sys.path if p != here])
if spec:
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)
""")
    third = tmp_path / "third"
    third.mkdir()
    (third / "sitecustomize.py").write_text("MARK = 'third'\n")
    env = inside(directory, third)
    env["PYTHONPATH"] = os.pathsep.join([str(chain.folder), env["PYTHONPATH"]])
    code = VIEW + "assert sys.argv_seen == 1, sys.argv_seen\n"
    seen = view(python("-c", code), env)
    assert len(registrations(directory)) == 1
    assert seen["hook"] == "third"
    assert str(chain.folder) in seen["path"]


def test_one_in_front_that_wraps_loaders(directory, tmp_path):
    """As Datadog's does; it asks for the next one by an import: the system's, or there is none."""
    chain = Chain(tmp_path, """
import sys
class Wrapping:
    def __init__(self, loader, spec): self.loader, self.spec = loader, spec
    def __getattr__(self, name): return getattr(self.loader, name)
    def exec_module(self, module): self.loader.exec_module(module)
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        for finder in [each for each in sys.meta_path if each is not Finder]:
            spec = finder.find_spec(name, path, target)
            if spec and hasattr(spec.loader, "exec_module"):
                spec.loader = Wrapping(spec.loader, spec)
            if spec:
                return spec
here = __file__.rpartition("/")[0]
sys.path.remove(here)
me = sys.modules.pop("sitecustomize")
sys.meta_path.insert(0, Finder)
try:
    import sitecustomize
except ImportError:
    sys.modules["sitecustomize"] = me
finally:
    sys.meta_path.remove(Finder)
sys.first = True
""")
    env = inside(directory)
    env["PYTHONPATH"] = os.pathsep.join([str(chain.folder), env["PYTHONPATH"]])
    view(python("-c", VIEW + "assert sys.first\n"), env)
    assert len(registrations(directory)) == 1


def test_usercustomize_runs(directory, tmp_path):
    home = tmp_path / "home"
    env = inside(directory, HOME=str(home))
    where = subprocess.run(
        [sys.base_prefix + "/bin/python3", "-m", "site", "--user-site"], env=env, stdout=subprocess.PIPE, text=True,
        check=False,
    ).stdout.strip()
    if not where.startswith(str(home)) or (not site.ENABLE_USER_SITE and sys.prefix == sys.base_prefix):
        pytest.skip("no user site here")
    Path(where).mkdir(parents=True)
    Path(where, "usercustomize.py").write_text("import sys; sys.users = True\n")
    view([sys.base_prefix + "/bin/python3", "-c", VIEW + "assert sys.users\n"], env)


def test_children(directory):
    """subprocess, with and without an environment, os.fork, os.posix_spawn and exec."""
    code = """
import os, subprocess, sys
me = [sys.executable, "-c", ""]
subprocess.run(me, check=True)
subprocess.run(me, check=True, env={})
os.waitpid(os.posix_spawn(me[0], me, os.environ), 0)
if (pid := os.fork()) == 0:
    os._exit(0)
os.waitpid(pid, 0)
os.execv(me[0], me)
"""
    subprocess.run(python("-c", code), env=inside(directory), check=True)
    kinds = sorted(said.kind for said in registrations(directory).values())
    # Itself (again after exec), one by subprocess, one by spawn, one fork; nothing of the one without variables.
    assert kinds == ["fork", "python", "python", "python"]


def test_every_program_of_an_exec_chain_has_another_image(directory):
    code = """
import os, sys
if len(sys.argv) == 1:
    os.execv(sys.executable, [sys.executable, "-c", os.environ["CODE"], "again"])
print(*os.listdir(os.environ["STREAMVITALS_DIR"]), flush=True)
"""
    env = inside(directory, CODE=code)
    done = subprocess.run(python("-c", code), env=env, stdout=subprocess.PIPE, check=True, text=True)
    first, second = (name.split(".")[1] for name in done.stdout.split())
    assert first != second
    assert len(registrations(directory)) == 1


def test_zipapp(directory, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "__main__.py").write_text(VIEW)
    zipapp.create_archive(source, tmp_path / "app.pyz")
    seen = view(python(str(tmp_path / "app.pyz")), inside(directory))
    assert seen["pid"] in {identity.pid for identity in registrations(directory)}


def test_subinterpreter(directory):
    code = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), "import sys; assert '_streamvitals_importhook' in sys.modules")
"""
    subprocess.run(python("-W", "ignore", "-c", code), env=inside(directory), check=True)
    assert len(registrations(directory)) == 1


def test_fault_of_ours_does_not_keep_the_program_from_starting(directory, tmp_path):
    """A package that is half gone."""
    broken = tmp_path / "streamvitals"
    shutil.copytree(Path(INJECT), broken / "inject")
    env = environment(PYTHONPATH=str(broken / "inject"), STREAMVITALS_DIR=str(directory))
    bare = view(python("-c", VIEW), environment())
    assert view(python("-c", VIEW), env)["path"] == bare["path"]


@pytest.fixture(scope="module")
def bare_environment(tmp_path_factory) -> str:
    """A virtual environment with openai and what it needs, and neither streamvitals nor what that needs."""
    root = tmp_path_factory.mktemp("bare")
    packages = root / "packages"
    packages.mkdir()
    left_out = ("streamvitals", "_streamvitals", "prometheus_client", "click", "opentelemetry", "wrapt", "__")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(left_out) and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    venv.create(root / "venv", symlinks=True)
    for site_packages in (root / "venv").glob("lib/python*/site-packages"):
        (site_packages / "packages.pth").write_text(f"{packages}\n")
    return str(root / "venv" / "bin" / "python")


def test_environment_without_streamvitals(server, bare_environment):
    missing = "import importlib.util as u; assert not any(map(u.find_spec, ['streamvitals', 'prometheus_client']))"
    subprocess.run([bare_environment, "-c", missing], env=environment(), check=True)
    command = [bare_environment, str(APPS / "stream_script.py"), "sv-ok", "sv-reset-after-n"]
    with started(command, environment(server.base_url), stdout=subprocess.DEVNULL) as app:
        assert app.process.wait() == 0
        app.wait_for_streams("completed", 1)
        app.wait_for_streams("reset", 1)


def test_sdk_that_is_not_known_is_told_to_the_agent(bare_environment, tmp_path):
    """Something else that calls itself openai."""
    (tmp_path / "openai.py").write_text("VALUE = 1\n")
    code = "import openai; assert openai.VALUE == 1; input()"
    with started([bare_environment, "-c", code], environment(), stdin=subprocess.PIPE, cwd=tmp_path) as app:
        app.wait_for_agent()
        eventually(lambda: total(app.samples(), "streamvitals_build_info", patched="false") == 1)
        app.process.communicate(b"\n")
        assert app.process.returncode == 0


def test_apps_own_streamvitals_is_kept(bare_environment, tmp_path, server):
    """One that the app imports before openai is the one that is asked; ours is not loaded over it."""
    own = tmp_path / "streamvitals"
    own.mkdir()
    (own / "__init__.py").write_text("MINE = True\n")
    (own / "process").mkdir(exist_ok=True)
    (own / "process" / "__init__.py").write_text("")
    (own / "process" / "lifecycle.py").write_text("CALLS = []\ndef activate():\n    CALLS.append(1)\n")
    code = (
        "import streamvitals, openai, streamvitals.process.lifecycle as lifecycle;"
        "assert streamvitals.MINE; assert lifecycle.CALLS == [1]"
    )
    with started([bare_environment, "-c", code], environment(), cwd=tmp_path) as app:
        assert app.process.wait() == 0


def test_forks_of_a_registered_process_register(directory):
    code = "import os\nif os.fork() == 0: print(os.getpid(), flush=True); os._exit(0)\nos.wait()"
    done = subprocess.run(python("-c", code), env=inside(directory), stdout=subprocess.PIPE, check=True)
    forked = [identity.pid for identity, said in registrations(directory).items() if said.kind == "fork"]
    assert forked == [int(done.stdout)]


def test_version_is_that_of_the_package():
    assert Path(INJECT).parents[1] == Path(streamvitals.__file__).parent


def test_fault_while_patching_is_told_to_the_agent(bare_environment, tmp_path):
    own = tmp_path / "streamvitals"
    own.mkdir()
    (own / "__init__.py").write_text("")
    (own / "process").mkdir(exist_ok=True)
    (own / "process" / "__init__.py").write_text("")
    (own / "process" / "lifecycle.py").write_text("def activate():\n    raise LookupError('a secret')\n")
    code = "import streamvitals, openai; input()"
    with started([bare_environment, "-c", code], environment(), stdin=subprocess.PIPE, cwd=tmp_path) as app:
        app.wait_for_agent()
        told = eventually(lambda: app.health()["not_patched"])
        assert told == [{"pid": app.pid, "error": "LookupError"}]
        app.process.communicate(b"\n")
        assert app.process.returncode == 0
