# SPDX-License-Identifier: BSD-3-Clause
"""The figures as Markdown, and their place in docs/performance.md."""

from bench.results import BUSY
from bench.scenarios import BARE, PROJECT, SCENARIOS
from bench.servers import SERVERS

BASELINE = "daphne"
BEGIN, END = "<!-- bench: begin (make bench) -->", "<!-- bench: end -->"
APPS = {
    PROJECT: ("Django and Channels", "channels"),
    BARE: ("A bare ASGI application", "bare"),
}  # application -> heading, name of its chart


def measured_servers(results, scenarios):
    return [s.name for s in SERVERS if any(results.was_tried(scenario.name, s.name) for scenario in scenarios)]


def measured_scenarios(results, app):
    tried = {run["scenario"] for run in results.runs}
    return [scenario for scenario in SCENARIOS if scenario.app == app and scenario.name in tried]


def figure(scenario):
    """Field of the results that a scenario is about."""
    return "kib" if scenario.is_memory else "cpu_us"


def ratio(value, baseline):
    """How a figure compares with the baseline: 1/8.2 for less, 1.3x for more."""
    if not value or not baseline or value < 0:
        return ""
    return f"1/{baseline / value:.1f}" if value <= baseline else f"{value / baseline:.1f}x"


def _cost(results, scenario, server):
    value = results.median(scenario.name, server, figure(scenario))
    if value is None:
        return "failed" if results.was_tried(scenario.name, server) else "-"
    text = f"**{value:,.1f}**" if server.startswith("channelsd") else f"{value:,.1f}"
    if server != BASELINE:
        compared = ratio(value, results.median(scenario.name, BASELINE, figure(scenario)))
        text += f" · {compared}" if compared else ""
    return text + (" †" if results.flaws(scenario.name, server) else "")


def _throughput(results, scenario, server):
    rate = results.median(scenario.name, server, "per_second")
    if rate is None:
        return "-"
    p50, p99 = (results.median(scenario.name, server, field) / 1000 for field in ("p50_us", "p99_us"))
    return f"{rate:,.0f} · {p50:,.1f} · {p99:,.1f}"


def _redis(results, scenario, server):
    value = results.median(scenario.name, server, "redis_us")
    return "-" if value is None else f"{value:,.1f}"


def _matrix(results, scenarios, cell):
    names = measured_servers(results, scenarios)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for scenario in scenarios:
        unit = f"KiB per {scenario.unit}" if cell is _cost and scenario.is_memory else f"per {scenario.unit}"
        cells = " | ".join(cell(results, scenario, name) for name in names)
        lines.append(f"| {scenario.title}; {unit} | {cells} |")
    return "\n".join(lines)


def _application(results, app, charts):
    heading, chart = APPS[app]
    scenarios = measured_scenarios(results, app)
    if not scenarios:
        return ""
    parts = [f"### {heading}"]
    if charts:
        parts.append(f"![CPU time for each unit: {heading}]({charts}/{chart}.svg)")
    parts.append(
        f"CPU time in µs, user and system, of the server's whole process tree; memory as proportional set size. "
        f"Behind the dot: the ratio to {BASELINE}."
    )
    parts.append(_matrix(results, scenarios, _cost))
    timed = [scenario for scenario in scenarios if not scenario.is_memory]
    if timed:
        parts.append("Throughput on this machine (units a second), and latency in ms: half of them, 99 of 100.")
        parts.append(_matrix(results, timed, _throughput))
    shared = [scenario for scenario in scenarios if scenario.redis]
    if shared:
        parts.append("CPU time of Redis, in µs, which comes on top.")
        parts.append(_matrix(results, shared, _redis))
    return "\n\n".join(parts)


def _checks(results):
    lines = [
        f"{results.units():,} answers, deliveries and connections were counted, and each was checked for contents, "
        f"order and number. The load generator took at most {results.busiest() * 100:.0f} % of a core"
        + (": at its limit, so throughput and latency may be its own." if results.busiest() > BUSY else ".")
    ]
    for scenario in SCENARIOS:
        for server in SERVERS:
            if flaws := results.flaws(scenario.name, server.name):
                lines.append(f"- † {server.name}, {scenario.name}: {'; '.join(flaws)}")
    return "\n".join(lines[:1] + ([""] + lines[1:] if lines[1:] else []))


def _about(results):
    about = results.about
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    rounds = f"{about['rounds']} round{'s' if about['rounds'] > 1 else ''}"
    names = measured_servers(results, SCENARIOS)
    notes = "; ".join(f"{server.name}: {server.note}" for server in SERVERS if server.note and server.name in names)
    return (
        f"{about['date']}; medians of {rounds} of {about['seconds']:g} s; {about['cpus']} cores "
        f"({about['cpu']}), Linux {about['kernel']}, Python {about['python']}. {versions}.\n\n"
        f"One worker each unless said. {notes}."
    )


def markdown(results, charts=""):
    """All tables of the results. charts: folder of the SVG files, relative to the document; empty: no charts."""
    parts = [_about(results), *(_application(results, app, charts) for app in APPS), "### Checks", _checks(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def put_into(text, tables):
    """The document `text` with `tables` between its markers. Raises ValueError when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the tables: the lines {BEGIN} and {END} are needed")
    return f"{before}{BEGIN}\n{tables}{END}{after}"
