"""The statements of docs/guide/gpu-sql.md, in its order."""

import re
from pathlib import Path

_GUIDE = (Path(__file__).parents[1] / "docs" / "guide" / "gpu-sql.md").read_text(encoding="utf-8")
FAILURES, PRESSURE, JOULES, COST, READINGS, LINES, RECORDS, SAMPLES = re.findall(r"```sql\n(.*?)```", _GUIDE, re.DOTALL)
