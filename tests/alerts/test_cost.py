"""The example of what streams cost is a rule file, has no price, and reckons right with one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from alerts_support import needs
from streamvitals import names
from streamvitals.cli import main

EXAMPLE = Path(__file__).parents[2] / "alerts" / "cost.example.yaml"
PRICES = dict(zip(names.TOKEN_PARTS, (2.0, 0.5, 2.5, 8.0, 8.0), strict=True))


def promtool(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def series(metric: names.Metric, model: str, value: str, **own: str) -> dict[str, Any]:
    labels = {"job": "chat", "gen_ai_provider_name": "openai", "gen_ai_request_model": model, **own}
    text = ", ".join(f'{name}="{label}"' for name, label in labels.items())
    return {"series": f"{metric.prometheus}_total{{{text}}}", "values": value}


def test_there_is_a_price_to_fill_in_for_each_part_and_none_is_given() -> None:
    prices, _ = yaml.safe_load(EXAMPLE.read_text())["groups"]
    parts = [(rule["labels"]["type"], rule["labels"]["part"]) for rule in prices["rules"]]
    assert tuple(parts) == names.TOKEN_PARTS
    assert {rule["expr"] for rule in prices["rules"]} == {"vector(NaN)"}


def test_it_is_for_the_services_that_were_named(tmp_path: Path) -> None:
    arguments = ["alerts", "--with-examples", "--output", str(tmp_path), "--service-label", "namespace"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    written = (tmp_path / EXAMPLE.name).read_text()
    assert "by (namespace, gen_ai" in written
    assert "job" not in written


@needs("promtool")
def test_the_example_is_a_rule_file(tmp_path: Path) -> None:
    promtool("check", "rules", str(EXAMPLE), cwd=tmp_path)


@needs("promtool")
def test_what_it_reckons(tmp_path: Path) -> None:
    rules = yaml.safe_load(EXAMPLE.read_text())
    for rule in rules["groups"][0]["rules"]:
        rule["labels"]["gen_ai_request_model"] = "m"
        rule["expr"] = f"vector({PRICES[rule['labels']['type'], rule['labels']['part']]})"
    (tmp_path / "rules.yaml").write_text(json.dumps(rules))
    # A million tokens of each part in a minute; of ten streams one has none, and one cannot be charged.
    given = [series(names.TOKENS, "m", "0+1000000x60", type=kind, part=part) for kind, part in names.TOKEN_PARTS]
    given += [
        series(names.TOKENS, "other", "0+1000x60", type="input", part="uncached"),
        series(names.TOKENS, "other", "0x60", type="input", part="cached"),
        series(names.STREAMS, "m", "0+9x60", outcome="completed", result="completed"),
        series(names.STREAMS, "m", "0+1x60", outcome="reset", result="failed"),
        series(names.STREAMS, "m", "0+1x60", outcome="rejected", result="rejected"),
        series(names.UNMETERED, "m", "0+1x60", result="failed"),
    ]

    def is_(expr: str, value: float) -> dict[str, Any]:
        return {"expr": expr, "eval_time": "50m", "exp_samples": [{"labels": "{}", "value": value}]}

    checks = [
        is_("round(sum(streamvitals:cost:increase5m), 0.01)", 5 * 21),
        is_('round(sum(streamvitals:cost:increase5m{type="input"}), 0.01)', 5 * 5),
        is_("count(streamvitals:cost:increase5m)", 5),
        is_("count(streamvitals:tokens_without_price:increase1d)", 1),
        is_('count(streamvitals:tokens_without_price:increase1d{gen_ai_request_model="other", part="uncached"})', 1),
        is_("round(sum(streamvitals:unmetered_share:ratio1d), 0.001)", 0.1),
    ]
    test = {
        "rule_files": ["rules.yaml"], "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": given, "promql_expr_test": checks}],
    }
    (tmp_path / "test.yaml").write_text(json.dumps(test))
    promtool("test", "rules", "test.yaml", cwd=tmp_path)
