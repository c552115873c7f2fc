"""The file in a real Datasette: tables, views and facets need no logic of a web page's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database that the demo leaves."""
    path = tmp_path_factory.mktemp("demo") / "whales.db"
    command = [sys.executable, "-m", "whalesync", "demo", "--keep", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return path


def get(file: Path, address: str) -> str:
    """What Datasette answers; it exits with an error for anything but 200."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "datasette", str(file), "--get", address],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_table_shows_its_keys_as_labels(demo: Path) -> None:
    """Foreign keys are declared, so a trade's row leads to its whale and its market."""
    document: dict[str, Any] = json.loads(
        get(demo, "/whales/whale_activity.json?_size=1&_shape=objects&_labels=on")
    )
    (row,) = document["rows"]
    assert document["primary_keys"] == ["id"]
    assert set(row["whale_id"]) == set(row["market_id"]) == {"value", "label"}


def test_a_view_has_names_and_iso_times_and_can_be_faceted(demo: Path) -> None:
    """The feed of a tier reads well by itself, and a facet counts what people ask for."""
    document = json.loads(
        get(demo, "/whales/activity_pro_plus.json?_facet=action&_facet=whale_label&_size=3")
    )
    columns = document["columns"]
    assert {"time", "whale_label", "market_title", "amount", "visible_at"} <= set(columns)
    assert document["rows"][0][columns.index("time")].endswith("Z")
    facets = document["facet_results"]
    assert {"BUY", "SELL"} <= {result["value"] for result in facets["action"]["results"]}
    assert {result["label"] for result in facets["whale_label"]["results"]} == {
        "Moby Dick",
        "Keiko",
        "Humphrey",
    }


def test_the_pages_are_html_that_holds_the_titles(demo: Path) -> None:
    """The page of a view is served without an error."""
    assert "<table" in get(demo, "/whales/activity_free") and "Moby Dick" in get(demo, "/whales/whales")
