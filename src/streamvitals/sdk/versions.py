"""Which openai versions are known, and whether the installed one has what is patched."""

from __future__ import annotations

from typing import Any

# The oldest minor with every patch point and with `with_streaming_response`; majors that were tested.
OLDEST = (1, 8)
MAJORS = (1, 2, 3)
SUPPORTED = "openai >=1.8, <4"

# Module -> attribute paths that must exist there.
PATCH_POINTS: dict[str, tuple[str, ...]] = {
    "openai._streaming": ("Stream.__init__", "AsyncStream.__init__"),
    "openai._base_client": (
        "SyncAPIClient.request", "AsyncAPIClient.request",
        "BaseClient._build_request", "BaseClient._calculate_retry_timeout", "BaseClient._should_retry",
    ),
}


def problems(openai: Any) -> list[str]:
    """What keeps this ``openai`` module from being patched, in words; empty where nothing does."""
    found = []
    version = str(getattr(openai, "__version__", "unknown"))
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        found.append(f"openai {version}: the version cannot be read")
    else:
        if (major, minor) < OLDEST or major not in MAJORS:
            found.append(f"openai {version} is not supported: {SUPPORTED} is")
    for module_name, paths in PATCH_POINTS.items():
        missing = [path for path in paths if not callable(resolve(module_name, path))]
        found += [f"openai {version} has no {module_name}.{path}" for path in missing]
    return found


def resolve(module_name: str, path: str) -> Any:
    """The attribute at ``path`` of an imported module, or None."""
    import importlib

    try:
        target: Any = importlib.import_module(module_name)
    except ImportError:
        return None
    for name in path.split("."):
        target = getattr(target, name, None)
    return target
