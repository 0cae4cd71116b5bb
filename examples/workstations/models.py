# SPDX-License-Identifier: BSD-3-Clause
"""Workstations, and the paid sessions that run on them. Field names are those of the messages."""

import math

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone


class Workstation(models.Model):
    """A computer that people pay to use."""

    DISPONIBLE = "disponible"
    OCCUPE = "occupe"
    HORS_LIGNE = "hors_ligne"
    STATUTS = [(DISPONIBLE, "available"), (OCCUPE, "in use"), (HORS_LIGNE, "offline")]

    nom = models.CharField("name", max_length=50, unique=True)
    adresse_ip = models.GenericIPAddressField("IP address", null=True, blank=True, unique=True)
    statut = models.CharField("status", max_length=20, choices=STATUTS, default=DISPONIBLE)
    # The connection that last sent a heartbeat, and when. Only that connection may report the workstation lost:
    # the end of an old connection says nothing about a workstation that has already reconnected.
    connexion = models.CharField("connection", max_length=120, blank=True, editable=False)
    dernier_signal = models.DateTimeField("last heartbeat", null=True, blank=True, editable=False)

    class Meta:
        ordering = ["nom"]

    def __str__(self):
        return self.nom


class AccessSession(models.Model):
    """A paid stretch of time, opened with an access code."""

    EN_ATTENTE = "en_attente"
    ACTIVE = "active"
    TERMINEE = "terminee"
    STATUTS = [(EN_ATTENTE, "waiting"), (ACTIVE, "running"), (TERMINEE, "ended")]

    code_acces = models.CharField("access code", max_length=16, unique=True)
    utilisateur = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sessions", verbose_name="user"
    )
    poste = models.ForeignKey(
        Workstation,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="sessions",
        verbose_name="workstation",
    )
    duree_initiale = models.PositiveIntegerField("seconds paid for", validators=[MinValueValidator(1)])
    temps_utilise = models.PositiveIntegerField("seconds used before", default=0)
    statut = models.CharField("status", max_length=20, choices=STATUTS, default=EN_ATTENTE)
    debut_session = models.DateTimeField("started", null=True, blank=True)
    fin_prevue = models.DateTimeField("ends at", null=True, blank=True, editable=False)
    fin_session = models.DateTimeField("ended", null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        verbose_name = "session"

    def __str__(self):
        return self.code_acces

    def seconds_left(self, now=None):
        """Return the exact time left, as a float that may be negative when the end was missed."""
        if self.statut == self.ACTIVE and self.fin_prevue is not None:
            return (self.fin_prevue - (now or timezone.now())).total_seconds()
        return float(self.duree_initiale - self.temps_utilise)

    @property
    def temps_restant(self):
        """Return the whole seconds left."""
        return max(0, math.ceil(self.seconds_left()))

    @property
    def pourcentage_utilise(self):
        """Return how much is used of the time that was left when the session was started, 0 to 100."""
        left = self.temps_restant
        if left == 0:
            return 100
        used_before = self.temps_utilise
        if self.statut == self.TERMINEE and self.debut_session is not None and self.fin_session is not None:
            # The end has added what this run used.
            used_before -= max(0, round((self.fin_session - self.debut_session).total_seconds()))
        available = self.duree_initiale - max(0, used_before)
        return min(100, max(0, (available - left) * 100 // max(1, available)))
