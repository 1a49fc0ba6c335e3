"""The first query of docs/metrics.md is right, whatever else goes on, and the one that people try first is not."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from alerts_support import needs
from streamvitals import names

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
NAIVE = '''
sum(rate(streamvitals_streams_total{outcome!="completed"}[5m])) / sum(rate(streamvitals_streams_total[5m]))'''
# A minute. Of a hundred that could have gone well five were broken, and a pool was full.
ENDS = {
    ("completed", "completed"): 80, ("length", "limit"): 12, ("content_filter", "limit"): 3, ("reset", "failed"): 3,
    ("timeout", "failed"): 1, ("rate_limited", "failed"): 1, ("timeout", "rejected"): 20, ("rejected", "rejected"): 30,
    ("cancelled", "left"): 40, ("abandoned", "left"): 10,
}


@needs("promtool")
def test_the_first_query_is_right(tmp_path: Path) -> None:
    (query,) = re.findall(r"## The first query.*?```promql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    series = [
        {
            "series": f'streamvitals_streams_total{{outcome="{outcome}", result="{result}"}}',
            "values": f"0+{ENDS.get((outcome, result), 0)}x10",
        }
        for outcome, result in names.OUTCOME_RESULTS
    ]
    checks = [
        {"expr": f"round({expr}, 0.001)", "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": value}]}
        for expr, value in ((query, 0.05), (NAIVE, 0.6))
    ]
    test = {"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": checks}]}
    (tmp_path / "test.yaml").write_text(json.dumps(test))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
