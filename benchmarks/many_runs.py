"""How long a leaderboard takes among thousands of runs.

    python benchmarks/many_runs.py MLRUNS [--runs 10000] [--repeats 3]

MLRUNS is the folder of a finished sweep, such as README's. Its database is copied, and in the copy its runs are repeated,
each time as a leaderboard of their own that is older, until there are so many. Then the commands are timed. Prints Markdown.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from evaluation import seconds

TABLES = ("tags", "params", "metrics", "latest_metrics")
DAY_MS = 86_400_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mlruns", type=Path)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "mlruns"
        root.mkdir()
        for file in options.mlruns.resolve().glob("mlflow.db*"):
            shutil.copy(file, root)
        before, after = repeated(root / "mlflow.db", options.runs)
        print("| command | runs | median, s | fastest | slowest |")
        print("| --- | --- | --- | --- | --- |")
        for count, place in ((before, options.mlruns.resolve()), (after, root)):
            command = [sys.executable, "-m", "neuroprint", "leaderboard", "--mlruns", str(place)]

            def run(command: list[str] = command) -> object:
                return subprocess.run(command, check=True, capture_output=True)

            print(f"| `neuroprint leaderboard` | {count} | {seconds(run, options.repeats)} |", flush=True)


def repeated(database: Path, wanted: int) -> tuple[int, int]:
    """Repeat the runs of a database, each group under another name and a day older; how many there were, and are."""
    with closing(sqlite3.connect(database)) as found:
        columns = {
            table: [row[1] for row in found.execute(f"PRAGMA table_info({table})")] for table in ("runs", *TABLES)
        }
        (before,) = found.execute("SELECT COUNT(*) FROM runs").fetchone()
        for copy in range(1, wanted // before):
            own = f"lower(printf('%08x', {copy})) || substr(run_uuid, 9)"
            changed = {
                "run_uuid": own,
                "start_time": f"start_time - {copy * DAY_MS}",
                "end_time": f"end_time - {copy * DAY_MS}",
            }
            own_tags = "'group', 'identity', 'untrained_row', 'sweep'"
            marked = f"CASE WHEN key IN ({own_tags}) THEN 'c{copy}' || value ELSE value END"
            for table in ("runs", *TABLES):
                changed["value"] = marked if table == "tags" else "value"
                taken = ", ".join(changed.get(column, column) for column in columns[table])
                # Ids of copies begin with zeros and their number.
                source = f"SELECT {taken} FROM {table} WHERE NOT run_uuid GLOB '0000[0-9a-f][0-9a-f][0-9a-f][0-9a-f]*'"
                found.execute(f"INSERT INTO {table} ({', '.join(columns[table])}) {source}")
        found.commit()
        (after,) = found.execute("SELECT COUNT(*) FROM runs").fetchone()
    return int(before), int(after)


if __name__ == "__main__":
    main()
