# SPDX-License-Identifier: BSD-3-Clause
"""The figures of a run: medians over the rounds, what the checks found, and the file that keeps it all."""

import json
import statistics

FLAWS = {
    "lost": "lost",
    "reordered": "out of order",
    "repeated": "repeated",
    "mismatched": "changed",
    "refused": "connections refused",
    "closed": "connections ended",
}
BUSY = 0.9  # of one core: a generator that is busier may be what limits the throughput


class Results:
    """runs: one dict of scenarios.run() for each measurement, or with "failed": why there is none.
    about: when, where and with which versions it was made."""

    def __init__(self, about, runs=()):
        self.about = about
        self.runs = list(runs)

    def add(self, run):
        self.runs.append(run)

    def of(self, scenario, server):
        """The runs of one server in one scenario, in the order of the rounds."""
        return [run for run in self.runs if (run["scenario"], run["server"]) == (scenario, server)]

    def median(self, scenario, server, field):
        """None when there is no figure, as after a failure."""
        values = [run[field] for run in self.of(scenario, server) if run.get(field) is not None]
        return statistics.median(values) if values else None

    def was_tried(self, scenario, server):
        return bool(self.of(scenario, server))

    def flaws(self, scenario, server):
        """What the checks found, in words; empty when every unit came once, in order and unchanged."""
        runs = self.of(scenario, server)
        found = []
        for field, word in FLAWS.items():
            if count := sum(run.get(field, 0) for run in runs):
                share = f" ({100 * count / max(1, self.expected(runs)):.1f} %)" if field == "lost" else ""
                found.append(f"{count:,} {word}{share}")
        found += [run["failed"] for run in runs if "failed" in run]
        return found

    @staticmethod
    def expected(runs):
        return sum(run.get("expected", 0) for run in runs)

    def units(self):
        """How many answers, deliveries and connections were counted and checked in all."""
        return sum(run.get("units", 0) for run in self.runs)

    def busiest(self):
        """The largest share of a core that the load generator took in any run."""
        return max((run.get("load_cpu", 0.0) for run in self.runs), default=0.0)

    def save(self, path):
        path.write_text(json.dumps({"about": self.about, "runs": self.runs}, indent=1) + "\n")

    @classmethod
    def load(cls, path):
        kept = json.loads(path.read_text())
        return cls(kept["about"], kept["runs"])
