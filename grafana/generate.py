"""Write the dashboards as JSON: `python -m grafana.generate`; with `--check`, compare with what is committed.

Needs Python 3.11 and grafana-foundation-sdk==0.0.21 (the `dashboards` dependency group). Pin it exactly: a
plain install picks bindings for Grafana 10.1, whose version sorts as newer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard as d
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from . import details, overview
from .panels import DATASOURCE
from .promql import SELECT

DASHBOARDS = Path(__file__).parent / "dashboards"
COLUMNS = 24


def build_overview() -> models.Dashboard:
    """The Overview, with ids and places."""
    board = d.Dashboard("otel_gen / Overview").uid("otel-gen-overview").tags(["otel_gen"]).readonly()
    board.description("Acceptance, speed, failures, storage and the pipeline of a generative-3D service.")
    board.refresh("1m").time("now-24h", "now").timezone("browser").tooltip(
        models.DashboardCursorSync.CROSSHAIR
    )
    for variable in (_datasource(), _label("job"), _label("instance", 'job=~"$job"')):
        board.with_variable(variable)
    board.annotation(_config_changes())
    page = Page(board)
    page.place(overview.figures(), across=6, height=4)
    page.row("Acceptance").place(overview.acceptance_row(), widths=[16, 8], height=9)
    page.row("Stages").place(overview.stages_row(), across=3, height=9)
    page.row("Validators").place(overview.validators_row(), across=1, height=8)
    page.row("Failures, withheld, wasted").place(details.losses_row(), widths=[8, 8, 8, 12, 12], height=8)
    page.folded("Outputs", details.outputs_row(), across=3, height=7)
    page.folded("Storage", details.storage_row(), across=3, height=8)
    page.folded("Pipeline health", details.pipeline_row(), across=2, height=8)
    return board.build()


class Page:
    """Places panels left to right and top to bottom, and numbers them: links need ids that stay."""

    def __init__(self, board: d.Dashboard) -> None:
        self.board = board
        self.y = 0
        self.next_id = 1

    def row(self, title: str) -> Page:
        self.board.with_row(self._row(title))
        return self

    def folded(self, title: str, panels: list[Any], *, across: int, height: int) -> None:
        """A row that opens on a click: until then its panels take no room."""
        row, below = self._row(title).collapsed(True), self.y
        for panel in self._placed(panels, [COLUMNS // across] * len(panels), height):
            row.with_panel(panel)
        self.board.with_row(row)
        self.y = below

    def place(
        self, panels: list[Any], *, height: int, across: int = 1, widths: list[int] | None = None
    ) -> None:
        for panel in self._placed(panels, widths or [COLUMNS // across] * len(panels), height):
            self.board.with_panel(panel)

    def _row(self, title: str) -> d.Row:
        row = d.Row(title).id(self._id()).grid_pos(models.GridPos(h=1, w=COLUMNS, x=0, y=self.y))
        self.y += 1
        return row

    def _placed(self, panels: list[Any], widths: list[int], height: int) -> list[Any]:
        x = 0
        for panel, width in zip(panels, widths, strict=True):
            if x + width > COLUMNS:
                x, self.y = 0, self.y + height
            panel.id(self._id()).grid_pos(models.GridPos(h=height, w=width, x=x, y=self.y))
            x += width
        self.y += height
        return panels

    def _id(self) -> int:
        self.next_id += 1
        return self.next_id - 1


def _datasource() -> d.DatasourceVariable:
    return d.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _label(name: str, *matchers: str) -> d.QueryVariable:
    selector = f"{{{', '.join(matchers)}}}" if matchers else ""
    query = f"label_values(gen3d_records_total{selector}, {name})"
    variable = d.QueryVariable(name).label(name.capitalize()).datasource(DATASOURCE).query(query).multi(True)
    return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).include_all(True).all_value(".*")


def _config_changes() -> d.AnnotationQuery:
    """A mark where a configuration appeared that was not in force five minutes before."""
    metric = f"gen3d_config_info{{{SELECT}}}"
    mark = (
        d.AnnotationQuery()
        .name("Configuration changes")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color("blue")
    )
    return mark.expr(f"{metric} unless {metric} offset 5m").step("60s").title_format("configuration changed")


def encode(board: models.Dashboard) -> str:
    """Stable JSON: the same dashboard is the same bytes."""
    return json.dumps(board, cls=JSONEncoder, sort_keys=True, indent=2) + "\n"


def main() -> int:
    path, text = DASHBOARDS / "overview.json", encode(build_overview())
    if "--check" in sys.argv[1:]:
        if path.read_text() == text:
            return 0
        print(f"{path} is not what the code makes; run: python -m grafana.generate", file=sys.stderr)
        return 1
    path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
