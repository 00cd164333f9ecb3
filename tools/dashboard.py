"""Generates the Grafana dashboard of the chart, helm/capstan/files/dashboard.json, from a list of panels.

Source of the format: grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "helm" / "capstan" / "files" / "dashboard.json"

SERIES = 'namespace="$namespace", release="$release", model=~"$model"'
RATE = "$__rate_interval"
USED, HIT = ', state="used"', ', result="hit"'
COLUMNS, HEIGHT = 3, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """A graph: its queries by what their lines are called."""

    title: str
    unit: str
    queries: dict[str, str]
    stacked: bool = False


def rate(name: str, by: str, more: str = "") -> str:
    """The rate of a counter, summed."""
    return f"sum by ({by}) (rate({name}{{{SERIES}{more}}}[{RATE}]))"


def ratio(over: str, under: str) -> str:
    """The rate of one counter over that of another, for each model."""
    return f"{rate(over, 'model')} / {rate(under, 'model')}"


def quantiles(name: str) -> dict[str, str]:
    """The median and the 95th percentile of a histogram."""
    buckets = f"sum by (le, model) (rate({name}_bucket{{{SERIES}}}[{RATE}]))"
    return {f"{{{{model}}}} p{100 * q:.0f}": f"histogram_quantile({q}, {buckets})" for q in (0.5, 0.95)}


def gauge(name: str, by: str, more: str = "") -> str:
    """A gauge, summed over replicas."""
    return f"sum by ({by}) ({name}{{{SERIES}{more}}})"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Requests": (
        Panel(
            "Requests",
            "reqps",
            {"{{route}} {{code}}": rate("capstan_requests_total", "route, code")},
            stacked=True,
        ),
        Panel("Duration", "s", quantiles("capstan_request_seconds")),
        Panel("Refusals", "reqps", {"{{reason}}": rate("capstan_refusals_total", "reason")}, stacked=True),
    ),
    "Latency of answers": (
        Panel("Time to first token", "s", quantiles("capstan_first_token_seconds")),
        Panel("Time between tokens", "s", quantiles("capstan_token_interval_seconds")),
        Panel(
            "Seconds of an answer by stage",
            "s",
            {
                stage: f"{rate(f'capstan_{stage}_seconds_sum', 'model')}"
                f" / {rate(f'capstan_{stage}_seconds_count', 'model')}"
                for stage in ("fetch", "queue", "preparation", "prefill", "decode")
            },
            stacked=True,
        ),
    ),
    "Load": (
        Panel(
            "Requests in progress",
            "short",
            {
                "running": gauge("capstan_running_requests", "model"),
                "waiting": gauge("capstan_waiting_requests", "model"),
                "slots": gauge("capstan_slots", "model"),
            },
        ),
        Panel(
            "Batch size", "short", {"{{model}}": ratio("capstan_step_requests_total", "capstan_steps_total")}
        ),
        Panel(
            "Time in steps of the model",
            "percentunit",
            {"{{replica}}": rate("capstan_step_seconds_total", "replica")},
        ),
        Panel(
            "Tokens",
            "short",
            {
                "read": rate("capstan_prefill_tokens_total", "model"),
                "written": rate("capstan_decode_tokens_total", "model"),
                "found in the cache": rate("capstan_prefix_tokens_total", "model"),
            },
        ),
        Panel(
            "Images and tiles",
            "short",
            {
                "images": rate("capstan_images_total", "model"),
                "tiles": rate("capstan_image_tiles_total", "model"),
            },
        ),
        Panel(
            "Requests that share a run",
            "reqps",
            {"{{model}}": rate("capstan_shared_requests_total", "model")},
        ),
    ),
    "Memory": (
        Panel(
            "Key-value cache in use",
            "percentunit",
            {
                "{{replica}}": f"{gauge('capstan_cache_pages', 'replica', USED)}"
                f" / {gauge('capstan_cache_pages', 'replica')}"
            },
        ),
        Panel(
            "Preemptions",
            "short",
            {"{{replica}}": rate("capstan_preemptions_total", "replica")},
        ),
        Panel(
            "Images found in the cache of features",
            "percentunit",
            {
                "{{model}}": f"{rate('capstan_feature_lookups_total', 'model', HIT)}"
                f" / {rate('capstan_feature_lookups_total', 'model')}"
            },
        ),
        Panel(
            "GPU memory",
            "bytes",
            {"{{replica}} {{state}}": gauge("capstan_gpu_memory_bytes", "replica, state")},
        ),
        Panel("Cache of features", "bytes", {"{{replica}}": gauge("capstan_feature_cache_bytes", "replica")}),
        Panel(
            "Seconds to load", "s", {"{{replica}} {{phase}}": gauge("capstan_load_seconds", "replica, phase")}
        ),
    ),
    "Usage and replicas": (
        Panel("GPU-seconds by key", "s", {"{{key}}": rate("capstan_gpu_seconds_total", "key")}, stacked=True),
        Panel(
            "Tokens by key",
            "short",
            {"{{key}}": rate("capstan_completion_tokens_total", "key")},
            stacked=True,
        ),
        Panel(
            "Replicas and the status of applications (6: running)",
            "short",
            {
                "replicas of {{model}}": f"count by (model) (capstan_slots{{{SERIES}}})",
                "status of {{application}}": "min by (application) "
                '(ray_serve_application_status{namespace="$namespace", release="$release"})',
            },
        ),
    ),
}


def files() -> dict[Path, str]:
    """Return the file with its text."""
    return {FILE: json.dumps(_dashboard(), indent=1) + "\n"}


def _dashboard() -> dict[str, Any]:
    variables = [
        _variable("namespace", "label_values(capstan_slots, namespace)"),
        _variable("release", 'label_values(capstan_slots{namespace="$namespace"}, release)'),
        _variable(
            "model",
            'label_values(capstan_slots{namespace="$namespace", release="$release"}, model)',
            every=True,
        ),
    ]
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    return {
        "title": "Capstan",
        "uid": "capstan",
        "tags": ["capstan", "ray"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source, *variables]},
        "panels": list(_panels()),
    }


def _variable(name: str, query: str, *, every: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": every,
        "multi": every,
        **({"allValue": ".*", "current": {"text": "All", "value": "$__all"}} if every else {}),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in ROWS.items():
        number += 1
        yield {"type": "row", "id": number, "title": title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        y += 1
        for index, panel in enumerate(panels):
            number += 1
            row, column = divmod(index, COLUMNS)
            place = {"x": column * 8, "y": y + row * HEIGHT, "w": 8, "h": HEIGHT}
            yield _graph(panel) | {"id": number, "gridPos": place}
        y += -(-len(panels) // COLUMNS) * HEIGHT


def _graph(panel: Panel) -> dict[str, Any]:
    custom = {
        "fillOpacity": 20 if panel.stacked else 0,
        "stacking": {"mode": "normal" if panel.stacked else "none"},
    }
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }
