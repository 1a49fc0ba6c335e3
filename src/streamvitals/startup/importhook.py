"""Import hook: runs a callback after `openai` has been imported.

It does not import `openai` itself, which takes a second of CPU.

A finder in front of `sys.meta_path` answers for `openai` only: it lets the remaining finders find it and
wraps `exec_module` of the loader they give, an instance made for this one import. When the module has been
executed the wrapper is gone, the finder is gone, and nothing of ours is left on the module.

Standard library only, and of that only what every interpreter has loaded: this is loaded at the start of
every Python under `streamvitals run`, by its path and under a private name.
"""

import sys
from _thread import allocate_lock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

WATCHED = "openai"


def install(on_import: "Callable[[], None]", on_fault: "Callable[[Exception], None] | None" = None) -> None:
    """Call `on_import` once, right after `openai` has been imported; now if it has been.

    It is called on the importing thread, before any other thread gets to see the module. What it raises
    goes to `on_fault` and never to the app.
    """
    finder = _Finder(on_import, on_fault)
    if sys.modules.get(WATCHED) is not None:
        # Half imported on another thread: wait for it, as any import would.
        __import__(WATCHED)
        finder.call_once()
    else:
        sys.meta_path.insert(0, finder)


def uninstall() -> None:
    """Remove every finder of ours; a callback that was not called yet will not be."""
    for finder in [f for f in sys.meta_path if isinstance(f, _Finder)]:
        finder.cancel()


class _Finder:
    def __init__(
        self, on_import: "Callable[[], None]", on_fault: "Callable[[Exception], None] | None"
    ) -> None:
        self._on_import = on_import
        self._on_fault = on_fault
        self._once = allocate_lock()
        self._looking: set[int] = set()

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if fullname != WATCHED:
            return None
        thread = get_ident()
        # Other hooks find the real spec by asking importlib again, which asks this finder again.
        if thread in self._looking:
            return None
        self._looking.add(thread)
        try:
            spec = self._ask_the_others(fullname, path, target)
        finally:
            self._looking.discard(thread)
        if spec is not None and spec.loader is not None:
            self._watch(spec)
        return spec

    def _ask_the_others(
        self, fullname: str, path: "Sequence[str] | None", target: "ModuleType | None"
    ) -> "ModuleSpec | None":
        finders = list(sys.meta_path)
        after = finders.index(self) + 1 if self in finders else 0
        for finder in finders[after:]:
            find_spec = getattr(finder, "find_spec", None)
            spec = find_spec(fullname, path, target) if find_spec is not None else None
            if spec is not None:
                return spec  # type: ignore[no-any-return]
        return None

    def _watch(self, spec: "ModuleSpec") -> None:
        loader: Any = spec.loader
        inner = getattr(loader, "exec_module", None)
        if inner is None or getattr(inner, "streamvitals_finder", None) is self:
            return
        own = getattr(loader, "__dict__", {}).get("exec_module")

        def exec_module(module: "ModuleType") -> None:
            if module.__name__ != WATCHED:  # a zip archive has one loader for all its modules
                inner(module)
                return
            _unwrap(loader, own)
            inner(module)
            self.remove()
            self.call_once()

        exec_module.streamvitals_finder = self  # type: ignore[attr-defined]
        try:
            loader.exec_module = exec_module
            wrapped = loader.exec_module is exec_module
            if not wrapped:
                _unwrap(loader, own)
        except AttributeError:
            wrapped = False
        if not wrapped:  # slots, or a proxy that passes the attribute on to what it stands for
            spec.loader = _StandIn(loader, self)  # type: ignore[assignment]

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def cancel(self) -> None:
        self.remove()
        self._once.acquire(False)

    def call_once(self) -> None:
        if not self._once.acquire(False):
            return
        try:
            self._on_import()
        except Exception as error:  # noqa: BLE001  a fault of ours is not the app's
            self._report(error)

    def _report(self, error: Exception) -> None:
        import logging

        logging.getLogger("streamvitals").debug("openai is not watched", exc_info=error)
        if self._on_fault is not None:
            self._on_fault(error)


class _StandIn:
    """Stands in for a loader that takes no attribute, until its module is about to be executed."""

    def __init__(self, loader: "Any", finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        create = getattr(self._loader, "create_module", None)
        return create(spec) if create is not None else None

    def exec_module(self, module: "ModuleType") -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._finder.remove()
        self._finder.call_once()


def _unwrap(loader: "Any", own: "Any") -> None:
    if own is not None:
        loader.exec_module = own
    else:
        del loader.exec_module
