"""Sums up a column of a CSV file that somebody has uploaded: {"csv": "...", "column": "price"}."""

import csv
import io
import statistics

from millpond import DeadLetter, handler, info, progress, state


def summarise(job):
    if not isinstance(job, dict) or not isinstance(job.get("csv"), str):
        raise DeadLetter("`csv` is missing")
    rows = list(csv.DictReader(io.StringIO(job["csv"])))
    column = job.get("column")
    try:
        numbers = [float(row[column]) for row in rows]
    except (KeyError, TypeError, ValueError) as wrong:
        raise DeadLetter(f"column {column!r} is not one of numbers: {wrong}")
    if not numbers:
        raise DeadLetter("there are no rows")
    info(f"{len(numbers)} rows")
    progress(len(numbers), len(rows))
    state.increment("rows", len(numbers))
    return {"rows": len(numbers), "sum": sum(numbers), "mean": statistics.mean(numbers), "median": statistics.median(numbers)}


Handler = handler(summarise)
