"""The guide runs as printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from taskflow import Client
from taskflow.hooks import using

GUIDE = Path(__file__).parents[2] / "docs" / "frames.md"


def test_the_examples_of_the_guide_are_true(inline: Client) -> None:
    session: dict[str, Any] = {}

    with using(inline):
        exec(
            "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)),
            session,
        )

    assert session["doubled"].price.tolist() == [6.0, 10.0, 8.0, 2.0]
    assert session["means"].price.to_dict() == {"Lima": 1.0, "Oslo": 5.0, "Rome": 3.5}
    assert session["table"].total.to_dict() == {"Lima": 1.0, "Rome": 7.0}
    assert session["first"].price.tolist() == [1.0, 3.0]
