"""docs/zero-code.md says what is: its commands record, its mapping is one, its tables name every key."""

from __future__ import annotations

import re
import shutil

import otel_gen
from otel_gen.zerocode.mapping import GenerationTable, Rule, StageTable, read
from tests.zerocode.world import APP, ROOT, Service

PAGE = (ROOT / "docs" / "zero-code.md").read_text()


def named(heading):
    """The keys in the first column of the table under a heading's words."""
    table = PAGE.split(heading)[1].split("\n\n")[1]
    rows = [row.strip("| ").split(" | ")[0] for row in table.splitlines()[2:]]
    return {key for row in rows for key in row.split(", ")}


def test_its_mapping_is_one(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "mapping.toml"
    path.write_text(example)
    assert [plan.name for plan in read(path).plans] == [None, "queue", "sd35", "validation"]


def test_its_tables_name_every_key():
    assert named("outputs = { clip_score") == {
        *StageTable.__struct_fields__,
        *GenerationTable.__struct_fields__,
    }
    assert named("rule holds when") == {*Rule.__struct_fields__} - {"outcome"}


def test_its_tests_exist():
    files = re.findall(r"`(tests/[^`]+)`", PAGE)
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_its_commands_record_a_service(tmp_path, trellis):
    shutil.copytree(APP, tmp_path / "app")
    (shown,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    install, *lines = re.sub(r"\s+#.*", "", shown).splitlines()
    assert install == "pip install '.[zero-code]'"
    lines[-1] = f"exec {lines[-1]} --port {{port}}"
    environ = {"TRELLIS_URL": trellis.url, "OTEL_GEN_FEEDBACK_TIMEOUT": "0"} | {
        f"OTEL_{kind}_EXPORTER": "none" for kind in ("TRACES", "METRICS", "LOGS")
    }
    with Service(["bash", "-ec", "\n".join(lines)], tmp_path / "app", environ, tmp_path / "log") as service:
        assert service.ask("a red chair").status_code == 200
        service.stop()
    (record,) = otel_gen.read(tmp_path / "app" / "data")
    assert record["generation"]["output"]["num_gaussians"] == 8_000
    assert len(record["generation"]["stages"]) == 9
