"""Found on PYTHONPATH by every Python that an app under `streamvitals run` starts.

It must parse on Python 2.7, for the variable is inherited by every tool the app starts, and cost next to
nothing, for most of them never stream anything: no imports beyond what the interpreter has loaded anyway.
When it is done it takes itself out of `sys.modules` and `sys.path`, and whatever `sitecustomize` would have
been found without it is imported in the ordinary way.
"""

# No annotations: Python 2.7.
# mypy: ignore-errors
# ruff: noqa: UP031, UP036

import sys


def _streamvitals_activate():
    """Called once `openai` has been imported: load the package from beside this folder and patch.

    The package need not be installed in the app's environment and no folder of ours goes on `sys.path`. An
    app that has imported a streamvitals of its own keeps that one.
    """
    if sys.modules.get("streamvitals") is None:
        from importlib.util import module_from_spec, spec_from_file_location

        spec = spec_from_file_location(
            "streamvitals", _PACKAGE + "/__init__.py", submodule_search_locations=[_PACKAGE]
        )
        module = module_from_spec(spec)
        sys.modules["streamvitals"] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop("streamvitals", None)
            raise
    from streamvitals.runtime import activate

    activate()


def _streamvitals_load(name):
    """A module of the child half, under a private name: an app's own `streamvitals` stays unloaded."""
    private = "_streamvitals_" + name
    path = _PACKAGE + "/" + name + ".py"
    # Not by the type of this file's own loader: a tool that hooks imports may have put its own in between.
    from _frozen_importlib_external import SourceFileLoader

    module = type(sys)(private)
    module.__file__ = path
    SourceFileLoader(private, path).exec_module(module)
    sys.modules[private] = module
    return module


def _streamvitals_start():
    import os

    directory = os.environ.get("STREAMVITALS_DIR")
    if not directory or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    if "_streamvitals_importhook" in sys.modules:  # a second sitecustomize chained back to this one
        return
    presence = _streamvitals_load("presence")
    # A directory that is gone belongs to an agent that has ended: this process is nobody's to watch.
    if presence.announce(directory):
        _streamvitals_load("importhook").install(_streamvitals_activate, presence.report_fault)


def _streamvitals_next():
    """Import the `sitecustomize` that would have been found without this one; errors as without this one. Whoever
    loads this file by hand has found it, and does not expect to be told that there is none."""
    import os

    def ours(entry):
        return os.path.abspath(entry) == _HERE

    at = next((i for i, entry in enumerate(sys.path) if ours(entry)), 0)
    before = sys.path[:at]
    if before and not any(os.path.exists(os.path.join(p, "sitecustomize.py")) for p in before):
        before = []
    # Where another sitecustomize stands in front it has run, and chained to this one: only what comes after
    # this folder is next.
    sys.path[:] = [entry for entry in sys.path[len(before):] if not ours(entry)]
    keep = sys.modules.pop("sitecustomize", None)  # Python 2 empties the globals of a module that is let go
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        found = type(error).__name__ != "ModuleNotFoundError" or getattr(error, "name", "") != "sitecustomize"
        if found or keep is None or _streamvitals_imported():
            raise
        sys.modules["sitecustomize"] = keep
    finally:
        sys.path[:0] = before
        del keep


def _streamvitals_imported():
    """Whether it is an `import` that runs this file, and not a call of its loader in another `sitecustomize`."""
    frame = sys._getframe(3)  # above this function, its caller and this file
    while frame is not None and frame.f_code.co_name != "<module>":
        if frame.f_code.co_name == "_find_and_load":
            return True
        frame = frame.f_back
    return False


try:
    import os as _os

    _HERE = _os.path.dirname(_os.path.abspath(__file__))
    _PACKAGE = _os.path.dirname(_HERE)
    if sys.version_info >= (3, 10):
        _streamvitals_start()
except Exception as _error:  # noqa: BLE001  whatever is wrong with us, the app starts
    # The agent sees a Python that did not report in; `python -v` says why, as it does for any sitecustomize.
    if sys.flags.verbose:
        sys.stderr.write("streamvitals: not watching this process: %r\n" % (_error,))
if __name__ == "sitecustomize":  # else it was loaded late, by _streamvitals_entry.py
    _streamvitals_next()
