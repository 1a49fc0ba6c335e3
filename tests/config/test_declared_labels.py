"""STREAMVITALS_LABELS: a closed grammar, and names of secrets that are never read."""

from __future__ import annotations

import pytest

from streamvitals.config import Config, ConfigError
from streamvitals.config.labels import SOURCES, CustomLabel, holds_secret, parse
from streamvitals.config.problems import of_variables

LABELS = "STREAMVITALS_LABELS"


def test_a_declaration_is_read_in_its_order() -> None:
    config = Config.from_env({LABELS: " tenant = metadata:tenant_id , route=header:X-Route,feature=code,"})
    assert config.labels == (
        CustomLabel("tenant", "metadata", "tenant_id"), CustomLabel("route", "header", "x-route"),
        CustomLabel("feature", "code"),
    )


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_can_be_declared(source: str) -> None:
    where = f"{source}:team" if SOURCES[source] else source
    assert [str(label) for label in parse(f"team={where}")] == [where]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tenant", "'tenant' has no source"),
        ("tenant=", "'tenant=' has no source"),
        ("=code", "'' is no name"),
        ("Tenant=code", "'Tenant' is no name"),
        ("a-b=code", "'a-b' is no name"),
        ("1a=code", "'1a' is no name"),
        ("__x=code", "'__x' is no name"),
        (f"{'x' * 33}=code", "is no name of 32 characters at most"),
        ("tenant=cookie:a", "'cookie' is no source"),
        ("tenant=METADATA:a", "'METADATA' is no source"),
        ("tenant=metadata", "'metadata' needs a key"),
        ("tenant=metadata:", "'metadata:' needs a key"),
        ("tenant=metadata:a b", "needs a key without blanks"),
        (f"tenant=metadata:{'k' * 129}", "needs a key"),
        ("tenant=user:a", "'user' takes no key"),
        ("tenant=code:", "'code' takes no key"),
        ("a=code,a=user", "'a' stands twice"),
        ("a=code,b=code,c=code,d=code", "4 labels"),
        *(
            (f"{name}=code", f"'{name}' is taken by another label")
            for name in ("outcome", "error_type", "gen_ai_request_model", "server_address", "le", "job", "instance",
                         "quantile", "result", "version", "otel_scope_name", "severity", "trace_id")
        ),
    ],
)
def test_what_is_wrong_is_said_and_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=LABELS) as raised:
        Config.from_env({LABELS: text})
    assert says in str(raised.value)
    assert "at most 3 of name=source" in str(raised.value)
    config, bad = Config.read({LABELS: text})
    assert config.labels == ()
    assert [value.instead for value in bad] == ["no custom labels are counted"]


@pytest.mark.parametrize(
    "key",
    [
        "authorization", "Authorization", "proxy-authorization", "cookie", "set-cookie", "api-key", "x-api-key",
        "X-Auth-Token", "x-amz-security-token", "x-goog-api-key", "ocp-apim-subscription-key", "openai_api_key",
        "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "apiKey", "accessToken", "x-csrf-token", "jwt",
        "x-functions-key", "clientSecret", "GITHUB_TOKEN", "HF_TOKEN", "user_passphrase", "x-access-token", "key",
        "x-signature", "www-authenticate", "authentication-info",
    ],
)
def test_what_lets_somebody_in_is_never_read(key: str) -> None:
    assert holds_secret(key)
    for source in ("header", "metadata", "env", "baggage"):
        env = {LABELS: f"a={source}:{key},b=metadata:team"}
        config, bad = Config.read(env)
        assert (config.labels, bad) == ((CustomLabel("b", "metadata", "team"),), ())
        (problem,) = of_variables(env)
        assert "may hold a secret and is never read; there is no label a" in problem.what
        assert not problem.bad_value


@pytest.mark.parametrize(
    "key",
    [
        "tenant_id", "x-tenant", "x-route", "team", "project_key", "x-request-tier", "author", "keyboard", "monkey",
        "cost-center", "max_tokens", "account", "POD_NAMESPACE", "DEPLOYMENT_ENVIRONMENT", "x-session-kind",
    ],
)
def test_what_names_no_secret_is_read(key: str) -> None:
    assert not holds_secret(key)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("STREAMVITALS_LABEL_VALUES", ["0", "-1", "1001", "many", "1e2", "5.0"]),
        ("STREAMVITALS_LABEL_SETS", ["19", "5001", "x"]),
    ],
)
def test_limits_are_numbers_in_a_range(name: str, bad: list[str]) -> None:
    for text in bad:
        with pytest.raises(ConfigError, match=f"{name}=.* is not allowed: a number from"):
            Config.from_env({name: text})
    assert Config.from_env({"STREAMVITALS_LABEL_VALUES": "7"}).label_values == 7
    assert Config.from_env({"STREAMVITALS_LABEL_SETS": "1000"}).label_sets == 1000
