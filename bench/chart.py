# SPDX-License-Identifier: BSD-3-Clause
"""Bar charts as SVG, readable on light and dark pages: a panel for each scenario, a bar for each server."""

from html import escape

from bench.tables import figure, measured_scenarios, measured_servers, ratio

WIDTH, MARGIN, GAP = 900, 24, 40
COLUMNS = 2
LABEL, VALUE = 112, 116  # pixels left and right of the bars of a panel
BAR, PITCH, HEAD, FOOT = 14, 21, 40, 14
TITLE = 56

STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #24292f }
  .title { font-size: 17px; font-weight: 600 }
  .panel { font-size: 12.5px; font-weight: 600 }
  .unit, .ratio { fill: #57606a }
  .bar { fill: #8c959f }
  .ours { fill: #1f7a4d }
  .variant { fill: #74b793 }
  .ours-text { font-weight: 600 }
  .axis { stroke: #d0d7de }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .unit, .ratio { fill: #9198a1 }
    .bar { fill: #6e7681 }
    .ours { fill: #3fb97c }
    .variant { fill: #2a7550 }
    .axis { stroke: #3d444d }
  }
"""


def _text(x, y, text, kind="", anchor="start"):
    classes = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{classes} text-anchor="{anchor}">{escape(text)}</text>'


def _panel(results, scenario, left, top, width):
    """One scenario: its title, and the bars on a scale of its own that starts at 0."""
    values = {name: results.median(scenario.name, name, figure(scenario)) for name in _servers(results, scenario)}
    most = max((value for value in values.values() if value), default=1)
    unit = "KiB" if scenario.is_memory else "µs"
    parts = [
        _text(left, top + 12, scenario.title, "panel"),
        _text(left, top + 28, f"{unit} per {scenario.unit}, less is better", "unit"),
    ]
    room = width - LABEL - VALUE
    for row, (name, value) in enumerate(values.items()):
        middle = top + HEAD + row * PITCH + BAR / 2
        ours = name.startswith("channelsd")
        parts.append(_text(left + LABEL - 8, middle + 4, name, "ours-text" if ours else "", "end"))
        if value is None:
            parts.append(_text(left + LABEL + 6, middle + 4, "failed", "ratio"))
            continue
        length = max(1.5, room * max(0, value) / most)
        parts.append(
            f'<rect x="{left + LABEL:g}" y="{middle - BAR / 2:g}" width="{length:.1f}" height="{BAR}" rx="2" '
            f'class="{_kind(name)}"/>'
        )
        compared = "" if name == "daphne" else ratio(value, values.get("daphne"))
        mark = " †" if results.flaws(scenario.name, name) else ""
        label = f"{value:,.1f}{mark}" + (f"  ({compared})" if compared else "")
        parts.append(_text(left + LABEL + length + 6, middle + 4, label, "ours-text" if ours else ""))
    bottom = top + HEAD + len(values) * PITCH - (PITCH - BAR) / 2
    parts.append(
        f'<line x1="{left + LABEL:g}" x2="{left + LABEL:g}" y1="{top + HEAD - 4:g}" y2="{bottom:g}" class="axis"/>'
    )
    return parts


def _kind(name):
    """Classes of a server's bar: the project's own stands out, its other settings less so."""
    if name == "channelsd":
        return "bar ours"
    return "bar variant" if name.startswith("channelsd") else "bar"


def _servers(results, scenario):
    return measured_servers(results, [scenario])


def _height(results, scenario):
    return HEAD + len(_servers(results, scenario)) * PITCH + FOOT


def draw(results, app, heading):
    """The chart of one application as SVG text, or None when nothing of it was measured."""
    scenarios = measured_scenarios(results, app)
    if not scenarios:
        return None
    width = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    parts, top = [_text(MARGIN, 34, heading, "title")], TITLE
    for start in range(0, len(scenarios), COLUMNS):
        row = scenarios[start : start + COLUMNS]
        for column, scenario in enumerate(row):
            parts += _panel(results, scenario, MARGIN + column * (width + GAP), top, width)
        top += max(_height(results, scenario) for scenario in row)
    body = "\n".join(parts)
    return (
        "<!-- SPDX-License-Identifier: BSD-3-Clause -->\n"
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + MARGIN / 2:g}" '
        f'width="{WIDTH}" role="img" aria-label="{escape(heading)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )
