"""What a template says before it ends is heard."""

from __future__ import annotations

from taskflow.pools.template import Template
from taskflow.pools.wire import Line


def test_its_last_words_are_heard_though_it_left_ours_unread() -> None:
    ours, theirs = Line.pair()
    template = object.__new__(Template)
    template._line, other = Line(ours), Line(theirs)
    template._line.wait(False)
    template.spawn(1, [])
    other.send(("broken", "ConfigError", "there is no module"))
    other.close()

    assert template.reports() == [("broken", "ConfigError", "there is no module")]
    assert template.reports() is None
    template._line.close()
