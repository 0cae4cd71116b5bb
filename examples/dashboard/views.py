# SPDX-License-Identifier: BSD-3-Clause
"""The dashboard's page, and its counts over HTTP."""

from django.contrib.auth.decorators import login_required
from django.shortcuts import render

from dashboard.stats import collect_stats
from realtime.http import json_view

CARDS = [
    ("utilisateurs", "Users", [("total", "Total"), ("actifs", "Active"), ("nouveaux_mois", "New this month")]),
    (
        "sessions",
        "Sessions",
        [
            ("total", "Total"),
            ("actives", "Running"),
            ("en_attente", "Waiting"),
            ("terminees_aujourd_hui", "Ended today"),
        ],
    ),
    (
        "postes",
        "Workstations",
        [("total", "Total"), ("disponibles", "Available"), ("occupes", "In use"), ("hors_ligne", "Offline")],
    ),
]


@login_required
def dashboard(request):
    """Show the counts."""
    stats = collect_stats()
    cards = [
        {"name": name, "title": title, "counts": [(key, label, stats[name][key]) for key, label in counts]}
        for name, title, counts in CARDS
    ]
    return render(request, "dashboard.html", {"cards": cards, "timestamp": stats["timestamp"]})


@json_view("GET")
def api_stats(request):
    """Answer what `get_stats` answers; the page polls this when it has no socket."""
    return {"type": "stats_update", "data": collect_stats()}
