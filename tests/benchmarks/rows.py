"""All rows by name, in the order of the table."""

from __future__ import annotations

from tests.benchmarks import (
    rows_bulk,
    rows_commands,
    rows_far,
    rows_files,
    rows_hostile,
    rows_keys,
    rows_memory,
    rows_prompt,
    rows_reach,
)
from tests.benchmarks.bench import Row

ROWS: dict[str, Row] = {
    "one-shot": rows_commands.one_shot,
    "run": rows_commands.run_true,
    "builtin": rows_commands.builtin,
    "at-once": rows_commands.at_once,
    "connect": rows_commands.connect,
    "output": rows_bulk.output,
    "output-unix": rows_bulk.output_unix,
    "input": rows_bulk.input,
    "way-in": rows_reach.way_in,
    "far": rows_bulk.far_away,
    "far-paths": rows_far.far_paths,
    "file": rows_files.large_file,
    "files": rows_files.small_files,
    "files-far": rows_files.far_files,
    "idle": rows_memory.idle_session,
    "interrupt": rows_keys.interrupt,
    "echo": rows_keys.echo,
    "prompt": rows_prompt.prompt,
    "reply": rows_memory.large_reply,
    "hostile": rows_hostile.hostile,
}
