"""The hook calls back once when `openai` has been imported, and the import is as it was."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import textwrap
import threading
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamvitals.startup import importhook


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `openai` of our own in front of the real one, which nobody has imported."""
    folder = tmp_path / "site"
    (folder / "openai").mkdir(parents=True)
    (folder / "openai" / "__init__.py").write_text("from .part import VALUE\n")
    (folder / "openai" / "part.py").write_text("VALUE = 1\n")
    away = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "openai"}
    for name in away:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "openai"]:
        del sys.modules[name]


class Calls:
    """Counts, and remembers what the hook found."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self) -> None:
        self.seen.append(getattr(sys.modules["openai"], "VALUE", None))


def test_called_once_when_imported(package: Path) -> None:
    calls = Calls()
    finders = list(sys.meta_path)
    importhook.install(calls)
    import json  # noqa: F401  something else

    assert calls.seen == []
    assert importlib.import_module("openai").VALUE == 1
    assert calls.seen == [1]
    assert sys.meta_path == finders
    importlib.import_module("openai")
    assert calls.seen == [1]


def test_module_is_as_without(package: Path) -> None:
    bare = importlib.import_module("openai")
    for name in ("openai", "openai.part"):
        del sys.modules[name]
    importhook.install(Calls())
    module = importlib.import_module("openai")
    assert type(module) is type(bare)
    assert vars(module).keys() == vars(bare).keys()
    assert module.__spec__ is not None
    assert bare.__spec__ is not None
    assert type(module.__loader__) is type(bare.__loader__)
    assert module.__spec__.loader is module.__loader__
    assert vars(module.__loader__) == vars(bare.__loader__)


def test_finding_is_not_importing(package: Path) -> None:
    calls = Calls()
    importhook.install(calls)
    assert importlib.util.find_spec("openai") is not None
    assert calls.seen == []
    importlib.import_module("openai")
    assert calls.seen == [1]


def test_already_imported(package: Path) -> None:
    importlib.import_module("openai")
    calls, finders = Calls(), list(sys.meta_path)
    importhook.install(calls)
    assert calls.seen == [1]
    assert sys.meta_path == finders


def test_missing_package_is_missing(tmp_path: Path, package: Path) -> None:
    (package / "openai" / "__init__.py").unlink()
    (package / "openai" / "part.py").unlink()
    (package / "openai").rmdir()
    sys.path_importer_cache.clear()
    importhook.install(Calls())
    sys.path[:], kept = [], list(sys.path)
    try:
        with pytest.raises(ModuleNotFoundError) as caught:
            importlib.import_module("openai")
    finally:
        sys.path[:] = kept
    assert caught.value.name == "openai"


def test_import_that_fails_may_be_tried_again(package: Path) -> None:
    calls = Calls()
    importhook.install(calls)
    good = (package / "openai" / "part.py").read_text()
    (package / "openai" / "part.py").write_text("raise RuntimeError('not now')\n")
    with pytest.raises(RuntimeError, match="not now"):
        importlib.import_module("openai")
    assert calls.seen == []
    # Of another length, for the cache of compiled files goes by time and size.
    (package / "openai" / "part.py").write_text("# mended\n" + good)
    importlib.invalidate_caches()
    importlib.import_module("openai")
    assert calls.seen == [1]


def test_reload(package: Path) -> None:
    calls = Calls()
    importhook.install(calls)
    module = importlib.import_module("openai")
    assert importlib.reload(module) is module
    assert calls.seen == [1]


def test_what_the_hook_raises_stays_with_us(package: Path) -> None:
    faults: list[Exception] = []

    def broken() -> None:
        raise RuntimeError("ours")

    importhook.install(broken, faults.append)
    assert importlib.import_module("openai").VALUE == 1
    assert [type(fault) for fault in faults] == [RuntimeError]


def test_interrupt_in_the_hook_is_the_apps(package: Path) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    importhook.install(interrupted)
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module("openai")


def test_uninstall(package: Path) -> None:
    calls, finders = Calls(), list(sys.meta_path)
    importhook.install(calls)
    # The loader of this spec is wrapped already.
    spec = importlib.util.find_spec("openai")
    importhook.uninstall()
    assert sys.meta_path == finders
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["openai"] = module
    spec.loader.exec_module(module)
    importlib.import_module("openai")
    assert calls.seen == []


class Delegating:
    """A hook of another kind: has importlib find the spec, and looks on; as wrapt's does."""

    def __init__(self) -> None:
        self.busy = False
        self.asked = 0
        self.wrapped: bool | None = None

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != "openai" or self.busy:
            return None
        self.busy, self.asked = True, self.asked + 1
        try:
            spec = importlib.util.find_spec(fullname)
            self.wrapped = "exec_module" in vars(spec.loader)
            return spec
        finally:
            self.busy = False


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_with_another_hook(package: Path, first: str) -> None:
    calls, other = Calls(), Delegating()
    if first == "theirs":
        importhook.install(calls)
        sys.meta_path.insert(0, other)  # type: ignore[arg-type]
    else:
        sys.meta_path.insert(0, other)  # type: ignore[arg-type]
        importhook.install(calls)
    assert importlib.import_module("openai").VALUE == 1
    assert calls.seen == [1]
    assert other.asked == 1
    # Where it asks on our behalf it is given the loader as it is.
    assert other.wrapped is (first == "theirs")


def test_two_hooks_of_ours(package: Path) -> None:
    first, second, finders = Calls(), Calls(), list(sys.meta_path)
    importhook.install(first)
    importhook.install(second)
    importlib.import_module("openai")
    assert (first.seen, second.seen) == ([1], [1])
    assert sys.meta_path == finders


class Slotted:
    """A loader that takes no attributes."""

    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        self.inner.exec_module(module)


class PassingOn:
    """A loader that passes attributes on to what it stands for, as an object proxy does."""

    def __init__(self, inner: Any) -> None:
        object.__setattr__(self, "inner", inner)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.inner, name)

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        self.inner.exec_module(module)


class Swallowing(PassingOn):
    """A loader that takes attributes and does nothing with them."""

    def __setattr__(self, name: str, value: Any) -> None:
        pass

    def __delattr__(self, name: str) -> None:
        pass


@pytest.mark.parametrize("kind", [Slotted, PassingOn, Swallowing])
def test_loader_that_cannot_be_wrapped(package: Path, kind: Any) -> None:
    class Finder:
        def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
            if fullname != "openai":
                return None
            spec = importlib.machinery.PathFinder.find_spec(fullname, path)
            assert spec is not None
            spec.loader = kind(spec.loader)
            return spec

    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
    calls = Calls()
    importhook.install(calls)
    module = importlib.import_module("openai")
    assert calls.seen == [1]
    assert type(module.__loader__) is kind
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__


def test_lazy_loader(package: Path) -> None:
    calls = Calls()
    importhook.install(calls)
    spec = importlib.util.find_spec("openai")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["openai"] = module
    assert spec.loader is not None
    spec.loader.exec_module(module)
    assert calls.seen == []
    assert module.VALUE == 1
    assert calls.seen == [1]


def test_zip_archive(package: Path, tmp_path: Path) -> None:
    """One loader there serves every module of the archive."""
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (package / "openai").glob("*.py"):
            file.write(path, f"openai/{path.name}")
        file.writestr("neighbour_of_openai.py", "HERE = True\n")
    sys.path.insert(0, str(archive))
    calls = Calls()
    importhook.install(calls)
    assert importlib.util.find_spec("openai") is not None
    assert importlib.import_module("neighbour_of_openai").HERE
    assert calls.seen == []
    assert str(archive) in str(importlib.import_module("openai").__file__)
    assert calls.seen == [1]
    del sys.modules["neighbour_of_openai"]


def test_threads_import_at_once(package: Path) -> None:
    """Whoever gets the module gets it after the hook."""
    (package / "openai" / "part.py").write_text(
        textwrap.dedent(
            """
            import time
            time.sleep(0.05)
            VALUE = 1
            """
        )
    )
    ready: list[bool] = []

    def hook() -> None:
        ready.append(True)

    importhook.install(hook)
    seen: list[list[bool]] = []

    def work() -> None:
        importlib.import_module("openai")
        seen.append(list(ready))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[True]] * 8
