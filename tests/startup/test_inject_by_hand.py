"""Other tools have a `sitecustomize` in front that runs ours by hand: it gets to its end, and so does the next one."""

from __future__ import annotations

import os
import subprocess

import pytest

from inject_support import PRIVATE_MODULES, VIEW, Chain, inside, old_interpreters, registrations, view
from run_support import environment, python
from streamvitals.run.launch import INJECT

BY_HAND = """
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
mine = sys.modules["sitecustomize"]
{prepare}
other = next(p for p in os.environ["PYTHONPATH"].split(os.pathsep) if p != here) + "/sitecustomize.py"
def find():
    from importlib.machinery import PathFinder
    return PathFinder.find_spec("sitecustomize", path=[p for p in sys.path if p != here])
{load}
sys.modules["sitecustomize"] = mine
sys.bootstrapped = True
"""
LOADS = {
    "load_module": 'spec = find(); spec.loader.load_module("sitecustomize")',
    "exec_module":
        "import importlib.util as u; spec = find(); spec.loader.exec_module(u.module_from_spec(spec))",
    "run_path": "import runpy; runpy.run_path(other)",
    "run_path, as what it is": "import runpy; runpy.run_path(other, run_name='sitecustomize')",
    "exec": "exec(open(other).read())",
    "exec, in a function": "def f():\n    exec(open(other).read())\nf()",
    "exec, compiled": "exec(compile(open(other).read(), other, 'exec'))",
    "exec, in a dictionary": "exec(open(other).read(), {})",
    "exec, in a dictionary that says what it is": "exec(open(other).read(), dict(__name__='sitecustomize'))",
    "its loader, under another name":
        "from importlib.machinery import SourceFileLoader as L; L('theirs', other).load_module()",
    "an import": "import importlib; sys.modules.pop('sitecustomize'); sys.path.remove(here)\n"
        "try: importlib.import_module('sitecustomize')\nexcept ImportError: pass",
}
PREPARE = {
    "": "pass",
    "off the path": "sys.path[:] = [p for p in sys.path if p != here]",
    # As pdm does it.
    "out of the modules": "sys.path[:] = [p for p in sys.path if p != here]; sys.modules.pop('sitecustomize', None)",
}


@pytest.mark.parametrize("prepare", PREPARE.values(), ids=PREPARE)
@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
@pytest.mark.parametrize("third", [False, True], ids=["alone", "with a third"])
def test_one_in_front_that_loads_the_next_by_hand_gets_to_its_end(directory, tmp_path, load, third, prepare):
    """What it found must not turn out to be nothing."""
    if "import_module" in load and prepare != "pass":
        pytest.skip("it does that itself")
    chain, more = Chain(tmp_path, BY_HAND.format(load=load, prepare=prepare)), tmp_path / "third"
    more.mkdir()
    if third:
        (more / "sitecustomize.py").write_text("import sys; sys.third = getattr(sys, 'third', 0) + 1\n")
    env = inside(directory, more)
    env["PYTHONPATH"] = os.pathsep.join([str(chain.folder), env["PYTHONPATH"]])
    code = VIEW + f"assert sys.bootstrapped\nassert getattr(sys, 'third', 0) == {third:d}\n"
    seen = view(python("-W", "ignore", "-c", code), env)
    assert INJECT not in seen["path"]
    assert str(more) in seen["path"]
    assert len(registrations(directory)) == 1
    if third:
        bare = view(python("-W", "ignore", "-c", code), environment(PYTHONPATH=f"{chain.folder}{os.pathsep}{more}"))
        assert sorted({*bare["modules"], *PRIVATE_MODULES}) == seen["modules"]
        assert seen["path"] == bare["path"]


@pytest.mark.parametrize("again", [
    "site.main()", "import runpy\ntry: runpy.run_module('sitecustomize')\nexcept ImportError: pass",
    "import runpy; runpy.run_path(ours)", "exec(open(ours).read())", "exec(open(ours).read(), {})",
    "sys.path.insert(0, os.path.dirname(ours)); site.main()",
])
def test_a_program_may_have_it_run_again(directory, again):
    code = f"import os, site, sys\nours = {INJECT!r} + '/sitecustomize.py'\n{again}\nprint('to its end')"
    done = subprocess.run(python("-c", code), env=inside(directory), capture_output=True, check=False, text=True)
    assert (done.stdout, done.stderr) == ("to its end\n", "")
    assert len(registrations(directory)) == 1


@pytest.mark.parametrize("command", [("-m", "sitecustomize"), (f"{INJECT}/sitecustomize.py",)])
def test_it_may_be_the_program(directory, command):
    done = subprocess.run(python("-S", *command), env=inside(directory), capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(registrations(directory)) == 1


@pytest.mark.parametrize("interpreter", old_interpreters() or [pytest.param("", marks=pytest.mark.skip("none here"))])
@pytest.mark.parametrize("third", [False, True])
def test_old_interpreters_pass_through_by_hand_too(directory, tmp_path, interpreter, third):
    front = Chain(tmp_path, f"""
import sys
sys.path[:] = [entry for entry in sys.path if entry != {str(tmp_path / 'theirs')!r}]
mine = sys.modules.pop("sitecustomize")
exec(open({INJECT!r} + "/sitecustomize.py").read(), {{}})
sys.modules["sitecustomize"] = mine
sys.bootstrapped = True
""")
    if third:
        (tmp_path / "sitecustomize.py").write_text("import sys; sys.third = True\n")
    env = environment(PYTHONPATH=os.pathsep.join([str(front.folder), INJECT, str(tmp_path)]))
    code = f"import sys; assert sys.bootstrapped; assert hasattr(sys, 'third') == {third}"
    subprocess.run([interpreter, "-c", code], env=env, check=True)
