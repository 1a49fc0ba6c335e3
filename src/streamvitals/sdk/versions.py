"""Which versions of an SDK are known, and whether the installed one has the attributes that are patched.

Separate from the rest of an SDK's description (openai_sdk.py), since the launcher and the doctor load only this.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Versions(NamedTuple):
    """The versions of one package that can be observed.

    ``oldest`` is a major and a minor, ``majors`` are the tested major versions, ``supported`` is both as text.
    ``patch_points`` are attribute paths by module, all of which must exist.
    """

    package: str
    oldest: tuple[int, int]
    majors: tuple[int, ...]
    supported: str
    patch_points: dict[str, tuple[str, ...]]

    def problems(self, module: Any) -> list[str]:
        """List what prevents patching this module of the package, in words; empty where nothing does."""
        found = []
        version = f"{self.package} {getattr(module, '__version__', 'unknown')}"
        try:
            major, minor = (int(part) for part in version.partition(" ")[2].split(".")[:2])
        except ValueError:
            found.append(f"{version}: the version cannot be read")
        else:
            if (major, minor) < self.oldest or major not in self.majors:
                found.append(f"{version} is not supported: {self.supported} is")
        for module_name, paths in self.patch_points.items():
            missing = [path for path in paths if not callable(resolve(module_name, path))]
            found += [f"{version} has no {module_name}.{path}" for path in missing]
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


OPENAI = Versions(
    "openai",
    oldest=(1, 8),  # the oldest minor with every patch point and with `with_streaming_response`
    majors=(1, 2, 3),
    supported="openai >=1.8, <4",
    patch_points={
        "openai._streaming": ("Stream.__init__", "AsyncStream.__init__"),
        "openai._base_client": (
            "SyncAPIClient.request", "AsyncAPIClient.request",
            "BaseClient._build_request", "BaseClient._calculate_retry_timeout", "BaseClient._should_retry",
        ),
    },
)
