"""``python -m taskflow.cli``, where the command is not on the path."""

from __future__ import annotations

import sys

from taskflow.cli import main

sys.exit(main())
