"""The guide to policies runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.acceptance.stage import run_script

GUIDE = Path(__file__).parents[2] / "docs" / "policies.md"


def test_the_examples_of_the_guide_are_true(tmp_path: Path) -> None:
    source = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))

    said = run_script(tmp_path, source, deadline_s=100.0).splitlines()

    assert said[0] == "[1, 3, 9, 20]"
    assert said[1] == "2 closed"
    assert said[2].startswith("The circuit breaker 'service' is open")
    assert said[3:7] == [
        "the price of tea",
        "charged 100 for order-7 True",
        "rent [0, 1, 4, 9]",
        "[0, 1]",
    ]
    assert said[7].startswith("ValueError(")
    assert said[8].startswith("1 invalid literal")
    assert [line.split()[0] for line in said[9:]] == ["failing", "stuck", "alone"]
