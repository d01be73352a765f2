"""Run one benchmark by its name."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benches.report import Row, machine, print_table, write_json
from stackctl.errors import StackctlError

HERE = Path(__file__).parent
SUPPORT = {"__init__", "__main__", "batch_runs", "peer", "report", "timing"}


def main() -> int:
    """Measure, print the table, write the JSON; exit 1 when a bar does not hold."""
    names = sorted(file.stem for file in HERE.glob("*.py") if file.stem not in SUPPORT)
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure one capability beside its rival.")
    parser.add_argument("name", choices=names, help="which benchmark")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as JSON")
    arguments = parser.parse_args()
    module = importlib.import_module(f"benches.{arguments.name}")
    rows: list[Row] = []
    try:
        for row in module.measure(quick=arguments.quick):
            rows.append(row)
            print(f"{row.name}: {row.value} {row.unit}", file=sys.stderr, flush=True)
    except StackctlError as error:  # what was measured is shown all the same
        rows.append(Row("the rest", None, "", bar="is measured", holds=False, reason=error.message))
        print(f"Error: {error.message}", file=sys.stderr)
    print_table(arguments.name, rows)
    if arguments.json:
        write_json(arguments.json, machine(), rows)
    return 0 if all(row.holds for row in rows if row.bar is not None) else 1


sys.exit(main())
