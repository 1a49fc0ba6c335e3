"""Found on PYTHONPATH by every Python that an app under `streamvitals run` starts.

It must parse on Python 2.7, for the variable is inherited by every tool the app starts, and cost next to
nothing, for most of them never stream anything: no imports beyond what the interpreter has loaded anyway.
When it is done it takes itself out of `sys.modules` and `sys.path`, and whatever `sitecustomize` would have
been found without it is imported in the ordinary way.

Other tools have a `sitecustomize` of their own in front, which runs this one by hand: by its loader, with runpy,
with exec, in a namespace of theirs. So nothing here relies on a name outside of the one function, not even on
`__file__` and `__name__`; and whoever ran it by hand does not learn from it that there is no other.
"""

# No annotations: Python 2.7.
# mypy: ignore-errors
# ruff: noqa: UP031


def _streamvitals(name, file):
    import os
    import sys

    def find_home():
        """Return this file's folder. What runs this file may have given no path, or its own."""
        pythonpath = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        places = [os.path.dirname(os.path.abspath(file))] if file else []
        places.append(os.path.dirname(find_home.__code__.co_filename))
        for place in places + sys.path + pythonpath:
            if place and os.path.exists(os.path.join(place, "_streamvitals_entry.py")):
                return os.path.abspath(place)
        return ""

    def activate():
        """Load the package that this folder is part of, and patch, once `openai` has been imported.

        The package need not be installed in the app's environment and no folder of ours goes on `sys.path`. An
        app that has imported a streamvitals of its own keeps that one.
        """
        if sys.modules.get("streamvitals") is None:
            from importlib.util import module_from_spec, spec_from_file_location

            spec = spec_from_file_location(
                "streamvitals", package + "/__init__.py", submodule_search_locations=[package]
            )
            module = module_from_spec(spec)
            sys.modules["streamvitals"] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                sys.modules.pop("streamvitals", None)
                raise
        from streamvitals.process.lifecycle import activate

        activate()

    def load(part):
        """Load a module of startup/ under a private name: an app's own `streamvitals` stays unloaded."""
        full_name = "_streamvitals_" + part
        path = os.path.dirname(here) + "/" + part + ".py"
        # Not by the type of this file's own loader: a tool that hooks imports may have put its own in between.
        from _frozen_importlib_external import SourceFileLoader

        module = type(sys)(full_name)
        module.__file__ = path
        SourceFileLoader(full_name, path).exec_module(module)
        sys.modules[full_name] = module
        return module

    def start():
        directory = os.environ.get("STREAMVITALS_DIR")
        if not directory or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return
        if "_streamvitals_importhook" in sys.modules:  # a second sitecustomize chained back to this one
            return
        registration = load("registration")
        # A directory that is gone belongs to an agent that has ended: this process is nobody's to watch.
        if registration.announce(directory):
            load("importhook").install(activate, registration.report_fault)

    def look_at_callers():
        """Return whether an `import` runs this file, and the folders of other `sitecustomize` that are running."""
        imported, folders = None, set()
        frame = sys._getframe(3)  # above this function, its caller and the one that holds both
        while frame is not None:
            code = frame.f_code
            # Python 2 imports without a frame, for `site` as a rule.
            if imported is None and code.co_name in ("_find_and_load", "execsitecustomize"):
                imported = True
            elif imported is None and code.co_name == "<module>" and code.co_filename != own:
                imported = False
            folder, base = os.path.split(code.co_filename)
            if base == "__init__.py":
                folder, base = os.path.split(folder)
            if base in ("sitecustomize.py", "sitecustomize"):
                folders.add(os.path.abspath(folder))
            frame = frame.f_back
        return bool(imported), folders

    def run_next():
        """Import the `sitecustomize` that would have been found without this one; errors as without this one."""
        imported, running = look_at_callers()
        places = [os.path.abspath(entry) for entry in sys.path]
        # One that runs this file by hand has run or is running, and so has whatever comes before this folder.
        at = places.index(here) if not imported and here in places else 0
        whole = [entry for entry, place in zip(sys.path, places) if place != here]  # noqa: B905
        rest = [
            entry for entry, place in list(zip(sys.path, places))[at:]  # noqa: B905
            if place != here and place not in running
        ]
        sys.path[:] = rest
        # Python 2 empties the globals of a module that is let go.
        keep = sys.modules.pop("sitecustomize", None)
        try:
            import sitecustomize  # noqa: F401
        except BaseException as error:
            if keep is not None:  # an import that fails takes it out again
                sys.modules["sitecustomize"] = keep
            missing = type(error).__name__ == "ModuleNotFoundError" and getattr(error, "name", "") == "sitecustomize"
            if imported or not (missing or str(error) == "No module named sitecustomize"):
                raise
        else:
            if keep is not None and not imported and getattr(keep, "__file__", None) != own:
                sys.modules["sitecustomize"] = keep
        finally:
            if sys.path == rest:
                sys.path[:] = whole
            else:
                sys.path[:0] = [entry for entry in whole if entry not in rest]

    here = package = own = ""
    try:
        here = find_home()
        package = os.path.dirname(os.path.dirname(here))
        own = os.path.join(here, "sitecustomize.py")
        if sys.version_info >= (3, 10) and here:
            start()
    except Exception as error:  # noqa: BLE001  whatever is wrong with us, the app starts
        # The agent sees a Python that did not report in; `python -v` says why, as it does for any sitecustomize.
        if sys.flags.verbose:
            sys.stderr.write("streamvitals: not watching this process: %r\n" % (error,))
    if name != "_streamvitals_sitecustomize":  # else it was loaded late, by _streamvitals_entry.py
        run_next()


_streamvitals(globals().get("__name__"), globals().get("__file__"))
