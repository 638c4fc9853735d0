"""Signpost: the README.md that tells whoever opens a data_dir what its files are."""

from __future__ import annotations

import os

from otel_gen.files import Folder, write_all

NAME = "README.md"
TEXT = """\
# What is here

otel_gen writes this directory: one record per 3D generation, whatever happened to it.

| file | what it is |
|---|---|
| generation_history.jsonl | one JSON line per settled generation |
| generation_history_YYYY-MM.jsonl(.gz) | past months; archive/ holds the oldest |
| generation_amendments.jsonl | what came after a line was written: late verdicts, files given up |
| miner_config_history.jsonl | each change of the miner's settings: old and new values |
| images/ | input images, byte for byte, named by their hash |
| ply_files/ | accepted outputs, and those that wait for a verdict |
| ply_files/rejected_samples/ | a sample of the rejected ones |
| .otel_gen/ | the journal, the index and what was set aside; not to be edited |

`otel_gen.read("this directory")` gives the records with their amendments laid over.
`otel-gen verify --data-dir D` checks every line, checksum and file; `otel-gen recover --data-dir D`
repairs what a crash left. docs/record-format.md of otel_gen specifies every key.

Records hold prompts and images of other people. Files are readable by their owner alone.
"""


def put_up(root: Folder) -> None:
    """Write the README where there is none."""
    try:
        with root.opened(NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            write_all(fd, TEXT.encode())
    except FileExistsError:
        return
