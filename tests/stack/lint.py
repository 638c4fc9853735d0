"""What is wrong with a dashboard: the rules that keep panels from going silently empty."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WORDS = re.compile(r"\bgen3d_\w+")
SUFFIXES = re.compile(r"_(bucket|count|sum)$")
COLUMNS = 24


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Every panel that shows something, those of folded rows too."""
    return [panel for panel in _every_panel(board["panels"]) if panel["type"] != "row"]


def queries(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and PromQL of every query: panels, then annotations."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for mark in board["annotations"]["list"]:
        yield mark["name"], mark["expr"]


def metrics(exprs: Iterable[str]) -> set[str]:
    """The names of our metrics that queries use, those of histograms without _bucket, _count, _sum."""
    words = {word for expr in exprs for word in WORDS.findall(expr)}
    return {SUFFIXES.sub("", word) for word in words}


def faults(board: dict[str, Any], units: set[str]) -> list[str]:
    """Every breach of the rules, as a sentence."""
    found = [*_board_faults(board), *_variable_faults(board), *_place_faults(board)]
    for panel in panels(board):
        found += [f"{panel['title'] or panel['id']}: {fault}" for fault in _panel_faults(panel, units)]
    for title, expr in queries(board):
        found += [f"{title}: {fault}: {expr}" for fault in _query_faults(title, expr)]
    return found


def _every_panel(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in items:
        yield panel
        yield from panel.get("panels", [])


def _board_faults(board: dict[str, Any]) -> Iterator[str]:
    if board.get("editable"):
        yield "editable"
    if not board.get("uid") or len(board["uid"]) > 40:
        yield "no fixed uid of at most 40 characters"
    if board.get("id") is not None or "version" in board:
        yield "carries an id or a version of somebody's Grafana"
    if not board.get("tags") or not board.get("time") or board.get("timezone") != "browser":
        yield "no tags, no time range, or a timezone that is not the reader's"
    if board.get("refresh") not in ("30s", "1m", "5m"):
        yield "refreshes more often than every 30 s"
    if "__inputs" in board or "${DS_" in str(board):
        yield "has inputs, which file provisioning never fills in"


def _variable_faults(board: dict[str, Any]) -> Iterator[str]:
    variables = board["templating"]["list"]
    sources = [v for v in variables if v["type"] == "datasource"]
    if [(v["name"], v["query"]) for v in sources] != [("datasource", "prometheus")]:
        yield "not exactly one data source variable"
    for variable in variables:
        if not variable.get("label"):
            yield f"variable {variable['name']}: no label"
        if variable["type"] == "query":
            yield from _query_variable_faults(variable)


def _query_variable_faults(variable: dict[str, Any]) -> Iterator[str]:
    name = variable["name"]
    if variable.get("datasource") != DATASOURCE:
        yield f"variable {name}: a data source of its own"
    if variable.get("refresh") != 2:
        yield f"variable {name}: not refreshed with the time range"
    if not (variable.get("includeAll") and variable.get("allValue") == ".*"):
        yield f"variable {name}: no All that matches everything"


def _place_faults(board: dict[str, Any]) -> Iterator[str]:
    ids = [panel["id"] for panel in _every_panel(board["panels"])]
    if len(set(ids)) != len(ids):
        yield "panel ids are not unique"
    folded = [panel["panels"] for panel in board["panels"] if panel.get("panels")]
    for group in (board["panels"], *folded):
        taken: set[tuple[int, int]] = set()
        for panel in group:
            at = panel["gridPos"]
            cells = {
                (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
            }
            if at["x"] + at["w"] > COLUMNS or cells & taken:
                yield f"{panel['title']}: outside the grid or on top of another panel"
            taken |= cells


def _panel_faults(panel: dict[str, Any], units: set[str]) -> Iterator[str]:
    if not panel.get("title") or not panel.get("description"):
        yield "no title or no description"
    if not panel.get("targets"):
        yield "no queries"
    if panel.get("datasource") != DATASOURCE or any(
        t.get("datasource") != DATASOURCE for t in panel["targets"]
    ):
        yield "a data source of its own"
    if len({target["refId"] for target in panel["targets"]}) != len(panel["targets"]):
        yield "two queries of one name"
    used = [panel["fieldConfig"]["defaults"].get("unit"), *_override_units(panel)]
    if not set(used) <= units:
        yield f"no unit, or one that Grafana does not know: {used}"
    legends = {target["legendFormat"] for target in panel["targets"]}
    needs_n = any("histogram_quantile" in t["expr"] or " / (" in t["expr"] for t in panel["targets"])
    if needs_n and not any(re.match(r"n\b", legend) for legend in legends):
        yield "a ratio or a quantile without its n"


def _override_units(panel: dict[str, Any]) -> list[str]:
    overrides = panel["fieldConfig"].get("overrides", [])
    return [p["value"] for override in overrides for p in override["properties"] if p["id"] == "unit"]


def _query_faults(title: str, expr: str) -> Iterator[str]:
    for selector in re.findall(r"gen3d_\w+(\{[^}]*\})?", expr):
        if 'job=~"$job"' not in selector or 'instance=~"$instance"' not in selector:
            yield "a selector without the variables"
    for window in re.findall(r"\[(\w+)\]", expr):
        if window not in re.sub(r"(\d) ([a-z])\b", r"\1\2", title):
            yield f"a window of {window} that the title does not name"
    for name, window in re.findall(r"(gen3d_\w+_(?:total|bucket|count))\{[^}]*\}(\[)?", expr):
        if not window:
            yield f"{name} outside of increase()"
    if re.search(r'\ble="', expr):
        yield "an exact le, which is printed as 30 by some and as 30.0 by others"
    if "histogram_quantile" in expr and not re.search(r"by \(le\b", expr):
        yield "a quantile without le"
