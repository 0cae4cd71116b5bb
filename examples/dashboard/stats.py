# SPDX-License-Identifier: BSD-3-Clause
"""The numbers on the dashboard."""

from django.contrib.auth import get_user_model
from django.db.models import Count, Q
from django.utils import timezone

from realtime.messages import iso
from workstations.models import AccessSession, Workstation
from workstations.services import sweep


def count(queryset, **conditions):
    """Count all rows as `total`, and those that meet each condition, in one query."""
    filters = {name: Count("pk", filter=condition) for name, condition in conditions.items()}
    return queryset.order_by().aggregate(total=Count("pk"), **filters)


def collect_stats():
    """Return the `data` of a stats_update."""
    sweep()
    now = timezone.now()
    today = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        "utilisateurs": count(
            get_user_model().objects.all(),
            actifs=Q(is_active=True),
            nouveaux_mois=Q(date_joined__gte=today.replace(day=1)),
        ),
        "sessions": count(
            AccessSession.objects.all(),
            actives=Q(statut=AccessSession.ACTIVE),
            en_attente=Q(statut=AccessSession.EN_ATTENTE),
            terminees_aujourd_hui=Q(statut=AccessSession.TERMINEE, fin_session__gte=today),
        ),
        "postes": count(
            Workstation.objects.all(),
            disponibles=Q(statut=Workstation.DISPONIBLE),
            occupes=Q(statut=Workstation.OCCUPE),
            hors_ligne=Q(statut=Workstation.HORS_LIGNE),
        ),
        "timestamp": iso(now, "seconds"),
    }
