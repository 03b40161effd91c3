# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The journals of all hosts as spans of time: phases and standing services, and where to draw them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Event = Mapping[str, Any]
Journals = Mapping[str, Sequence[Event]]

PHASES = ("prepare", "stop", "switch", "start", "verify", "decide", "undo", "finish")
#: Events of the engine that belong to a phase, whatever the facts say.
_PHASE_OF = {
    "begun": "prepare",
    "prepared": "prepare",
    "armed": "stop",
    "services": "stop",
    "stopped": "stop",
    "switched": "switch",
    "started": "start",
    "checked": "verify",
    "promised": "verify",
    "decided": "decide",
    "undone": "undo",
    "finished": "finish",
}
#: Phases of which the journal may hold only the end.
_TOGETHER = ("start", "verify", "decide", "finish")
#: Events at the beginning of what they are about; all others are at its end.
_OPENING = ("begun", "armed", "services", "intent")
#: The part of a drawing that is left free on each side of the standstill.
_MARGIN = 0.06


def timeline(journals: Journals) -> dict[str, Any] | None:
    """What happened when.

    :param journals: host → events as ``transaction_info`` returns them, with ``at`` in seconds since the epoch.
    :returns: ``start``, ``end``, ``downtime`` (a pair, or None) and ``hosts``, each with ``phases`` (``phase``, ``start``,
        ``end``) and ``services`` (``name`` and ``down``, pairs: the first is None where it was down before, the second
        while it never came back).
        None without any event.
    """
    moments = [moment for events in journals.values() for moment in _moments(events)]
    if not moments:
        return None
    hosts: list[dict[str, Any]] = [
        {"host": host, "phases": phases(events), "services": services(events)}
        for host, events in journals.items()
        if events
    ]
    down = [span for host in hosts for service in host["services"] for span in service["down"]]
    _start_together(hosts)
    starts, ends = ([at for at in times if at is not None] for times in zip(*down)) if down else ([], [])
    downtime = [min(starts), max(ends)] if starts and ends else None
    return {"start": min(moments), "end": max(moments), "downtime": downtime, "hosts": hosts}


def _start_together(hosts: Sequence[Mapping[str, Any]]) -> None:
    """All hosts enter a phase together: where only the end of one is journalled, it began when the last host was there.

    Otherwise a host that waits for others would seem to work.
    """
    for phase in _TOGETHER:
        earlier = PHASES[: PHASES.index(phase)]
        spans = [span for host in hosts for span in host["phases"]]
        for span in (span for span in spans if span["phase"] == phase and not span["opened"]):
            ready = [each["end"] for each in spans if each["phase"] in earlier and each["end"] <= span["end"]]
            span["start"] = max([span["start"], *ready])


def phases(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The phases of one host in their order; every boundary is a time of the journal."""
    spans: list[dict[str, Any]] = []
    current, before = "prepare", None
    for event in events:
        phase = _phase(event, current)
        if not spans or phase != current:
            opening = event["event"] in _OPENING or before is None
            spans.append(
                {"phase": phase, "start": event["at"] if opening else before, "end": event["at"], "opened": opening}
            )
        spans[-1]["end"] = event["at"]
        current, before = phase, event["at"]
    return spans


def _phase(event: Event, current: str) -> str:
    """A step inside of a phase says nothing of it; after the first step of an undo all is undo, but for the end."""
    phase = event.get("facts", {}).get("phase") or _PHASE_OF.get(event["event"], current)
    if current == "undo" and phase in ("stop", "switch", "start", "verify"):
        return current
    return str(phase)


def services(events: Sequence[Event]) -> list[dict[str, Any]]:
    """When each service stood still, by its name."""
    down: dict[str, list[list[float | None]]] = {}
    for event in events:
        times = event.get("facts", {}).get("services", {})
        if event["event"] == "stopped":
            for name, at in [*times.items(), *((name, None) for name in event["facts"].get("others", ()))]:
                if not (down.get(name) and down[name][-1][1] is None):
                    down.setdefault(name, []).append([at, None])
        elif event["event"] == "started":
            for name, at in times.items():
                if down.get(name) and down[name][-1][1] is None:
                    down[name][-1][1] = at
    return [{"name": name, "down": spans} for name, spans in down.items()]


def _moments(events: Iterable[Event]) -> Iterator[float]:
    for event in events:
        yield event["at"]
        if event["event"] in ("stopped", "started"):
            yield from event["facts"]["services"].values()


def drawing(found: Mapping[str, Any], window: Sequence[float], *, with_services: bool) -> dict[str, Any]:
    """A timeline laid out for SVG: across in percent of the width, so that text keeps its size on a phone; down in pixels.

    :param found: what `timeline` returned.
    :param window: the times at the left and the right edge.
    """
    left, width = window[0], max(window[1] - window[0], 1e-6)

    def across(at: float) -> float:
        return round(min(max((at - left) / width, 0.0), 1.0) * 100, 4)

    def box(kind: str, title: str, start: float | None, end: float | None, top: int, height: int) -> dict[str, Any]:
        x, right = across(left if start is None else start), across(window[1] if end is None else end)
        words = f"{title}, {duration(start, end)}"
        return {"kind": kind, "title": words, "start": start, "end": end, "x": x, "width": round(right - x, 4)} | {
            "y": top,
            "height": height,
        }

    labels, bars, top = [], [], 6
    for host in found["hosts"]:
        labels.append({"text": host["host"], "y": top + 12, "strong": True})
        bars += [
            box(span["phase"], f"{host['host']}: {span['phase']}", span["start"], span["end"], top + 19, 16)
            for span in host["phases"]
            if span["end"] >= window[0] and span["start"] <= window[1]
        ]
        top += 44
        for service in host["services"] if with_services else []:
            labels.append({"text": service["name"], "y": top + 10, "strong": False})
            bars += [
                box("down", f"{service['name']} stood still", start, end, top + 15, 7) for start, end in service["down"]
            ]
            top += 29
        top += 8
    shade = None
    if found["downtime"]:
        x = across(found["downtime"][0])
        shade = {"x": x, "width": round(across(found["downtime"][1]) - x, 4)}
    return {
        "height": top + 24,
        "plot": top,
        "labels": labels,
        "bars": bars,
        "shade": shade,
        "ticks": [{"x": across(left + after), "text": seconds(after)} for after in _ticks(width)],
        "start": window[0],
        "end": window[1],
    }


def downtime_window(found: Mapping[str, Any]) -> tuple[float, float] | None:
    """The standstill with a little of what is around it; None without one, or where it is most of the whole anyway."""
    if not found["downtime"]:
        return None
    start, end = found["downtime"]
    margin = (end - start) * _MARGIN
    window = (max(start - margin, found["start"]), min(end + margin, found["end"]))
    return window if window[1] - window[0] < 0.75 * (found["end"] - found["start"]) else None


def _ticks(width: float) -> list[float]:
    """About five round numbers of seconds from 0 up to the width."""
    for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400):
        if width / step <= 5:
            return [round(step * number, 3) for number in range(int(width / step) + 1)]
    return [0.0, width]


def duration(start: float | None, end: float | None) -> str:
    """How long a span took, or why nobody knows."""
    if start is None:
        return "down before it began"
    return "never came back" if end is None else seconds(end - start)


def seconds(elapsed: float) -> str:
    """``40 ms``, ``4.2 s``, ``38 s``, ``2 min 5 s``, ``3 h 12 min``."""
    if 0 < elapsed < 0.9995:
        return f"{elapsed * 1000:.0f} ms"
    if elapsed < 10:
        return f"{elapsed:.1f} s".replace(".0 s", " s")
    if elapsed < 60:
        return f"{elapsed:.0f} s"
    if elapsed < 3600:
        minutes, rest = divmod(round(elapsed), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(round(elapsed / 60), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
