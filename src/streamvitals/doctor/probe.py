"""Reports on the app's own interpreter: `doctor` runs it there with `-c` and reads its JSON.

Standard library and the app's packages only, and nothing that Python 2.7 cannot parse.
"""
# mypy: ignore-errors
# ruff: noqa: BLE001, PERF203, UP031, UP036

import json
import os
import sys

PACKAGES = (
    "streamvitals", "openai", "httpx", "httpx2", "opentelemetry-api", "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http", "opentelemetry-instrumentation-httpx",
)
# Others that look at the same SDK.
OTHERS = (
    "opentelemetry-instrumentation-openai", "opentelemetry-instrumentation-openai-v2",
    "opentelemetry-instrumentation-genai-openai", "openinference-instrumentation-openai", "traceloop-sdk",
    "openlit", "langfuse", "langsmith", "logfire", "sentry-sdk", "ddtrace", "newrelic", "elastic-apm",
)


def look():
    """Report the interpreter, its packages, and whether the injected code and the patch points are there."""
    found = {
        "python": sys.version.split()[0],
        "version": list(sys.version_info[:2]),
        "executable": sys.executable,
        "injected": "_streamvitals_importhook" in sys.modules,
        "has_directory": bool(os.environ.get("STREAMVITALS_DIR")),
        "on_path": sys.argv[2] + "/startup/inject" in os.environ.get("PYTHONPATH", "").split(os.pathsep),
        "sitecustomize": getattr(sys.modules.get("sitecustomize"), "__file__", None),
    }
    if sys.version_info >= (3, 10):
        found["packages"] = versions(PACKAGES)
        found["others"] = versions(OTHERS)
        if "openai" in found["packages"]:
            found.update(patch_points())
        found["redact"] = redaction(os.environ.get("STREAMVITALS_REDACT", "").strip())
    return found


def redaction(name):
    """Return why the redaction hook cannot be used; empty where it can, or there is none."""
    module, _, function = name.partition(":")
    if not name:
        return ""
    try:
        from importlib import import_module

        # The app's own folder is on its path, as ours is not.
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        hook = getattr(import_module(module), function)
    except BaseException as error:
        return type(error).__name__
    return "" if callable(hook) else "it is no function"


def versions(names):
    """Return the versions of those distributions that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def patch_points():
    """Import the SDK, as the app would, and check the places that are patched."""
    try:
        import openai
    except Exception as error:
        return {"import_error": type(error).__name__}
    load_package()
    from streamvitals.sdk.versions import OPENAI

    return {"problems": OPENAI.problems(openai)}


def load_package():
    """Load the package as startup/inject does, where that was not there to do it."""
    if "streamvitals" not in sys.modules:
        from importlib.util import module_from_spec, spec_from_file_location

        root = sys.argv[2]
        path = root + "/__init__.py"
        spec = spec_from_file_location("streamvitals", path, submodule_search_locations=[root])
        sys.modules["streamvitals"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["streamvitals"])


def connect(timeout):
    """Ask the configured server for its models through the SDK; spends no tokens, reveals no key."""
    import openai

    azure = os.environ.get("AZURE_OPENAI_ENDPOINT") and not os.environ.get("OPENAI_API_KEY")
    host = ""
    try:
        client = (openai.AzureOpenAI if azure else openai.OpenAI)(timeout=timeout, max_retries=0)
        host = host_of(str(client.base_url))
        client.models.list()
    except openai.APIStatusError as error:
        return {"host": host, "result": str(error.status_code)}
    except openai.APITimeoutError:
        return {"host": host, "result": "timeout"}
    except openai.APIConnectionError as error:
        return {"host": host, "result": why(error)}
    except Exception as error:
        return {"host": host, "result": "unusable" if host else no_client(error), "error": type(error).__name__}
    return {"host": host, "result": "ok"}


def no_client(error):
    """Return why the SDK makes no client.

    It is read from texts of httpx and the SDK, which are not shown.
    """
    text = str(error).lower()
    if "socks" in text:
        return "no socks" if isinstance(error, ImportError) else "bad proxy"
    if "proxy" in text or "scheme" in text:
        return "bad proxy"
    return "no key" if "api_key" in text or "credentials" in text else "no client"


def host_of(url):
    """Return host and port, for a person; user, password, path and query may hold secrets."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return "%s:%s" % (parts.hostname, parts.port) if parts.port else str(parts.hostname)


def why(error):
    """Return which way the connection failed, by the names of the causes: texts differ between versions."""
    kinds = (("gaierror", "dns"), ("SSL", "tls"), ("ConnectionRefused", "refused"), ("Proxy", "proxy"))
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for part, kind in kinds:
            if any(part in cls.__name__ for cls in type(error).__mro__):
                return kind
        error = error.__cause__ or error.__context__
    return "no connection"


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(connect(float(sys.argv[3])) if sys.argv[1] == "connect" else look()))
