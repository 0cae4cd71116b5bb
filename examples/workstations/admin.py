# SPDX-License-Identifier: BSD-3-Clause
"""Sessions and workstations in the admin; open dashboards follow every change."""

from datetime import timedelta

from django.contrib import admin

from workstations import services
from workstations.models import AccessSession, Workstation


@admin.register(Workstation)
class WorkstationAdmin(admin.ModelAdmin):
    """Workstations, with their status editable in the list."""

    list_display = ["nom", "adresse_ip", "statut", "dernier_signal"]
    list_editable = ["statut"]
    list_filter = ["statut"]


@admin.register(AccessSession)
class AccessSessionAdmin(admin.ModelAdmin):
    """Sessions; ending one here tells its workstation, more time moves its end."""

    list_display = ["code_acces", "utilisateur", "poste", "statut", "duree_initiale", "debut_session"]
    list_filter = ["statut"]
    search_fields = ["code_acces", "utilisateur__username"]
    actions = ["end_sessions"]

    def save_model(self, request, obj, form, change):
        """Save a session, and let the services end one that was set to ended while it ran."""
        before = AccessSession.objects.filter(pk=obj.pk).values_list("statut", flat=True).first() if change else None
        ending = before == AccessSession.ACTIVE and obj.statut == AccessSession.TERMINEE
        if ending:
            obj.statut = AccessSession.ACTIVE
        if obj.statut == AccessSession.ACTIVE and obj.debut_session is not None:
            obj.fin_prevue = obj.debut_session + timedelta(seconds=obj.duree_initiale - obj.temps_utilise)
        super().save_model(request, obj, form, change)
        if ending:
            services.end(obj.pk, services.FERMETURE_NORMALE)
            obj.refresh_from_db()

    @admin.action(description="End the selected sessions")
    def end_sessions(self, request, queryset):
        """End those of the selected sessions that run."""
        ended = sum(
            services.end(session_id, services.FERMETURE_NORMALE) for session_id in queryset.values_list("pk", flat=True)
        )
        self.message_user(request, f"{ended} ended.")
