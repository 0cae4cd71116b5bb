# SPDX-License-Identifier: BSD-3-Clause
"""The first tables of this app."""

from django.conf import settings
import django.core.validators
from django.db import migrations, models
import django.db.models.deletion


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Workstation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('nom', models.CharField(max_length=50, unique=True, verbose_name='name')),
                ('adresse_ip', models.GenericIPAddressField(blank=True, null=True, unique=True, verbose_name='IP address')),
                ('statut', models.CharField(choices=[('disponible', 'available'), ('occupe', 'in use'), ('hors_ligne', 'offline')], default='disponible', max_length=20, verbose_name='status')),
                ('connexion', models.CharField(blank=True, editable=False, max_length=120, verbose_name='connection')),
                ('dernier_signal', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='last heartbeat')),
            ],
            options={
                'ordering': ['nom'],
            },
        ),
        migrations.CreateModel(
            name='AccessSession',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code_acces', models.CharField(max_length=16, unique=True, verbose_name='access code')),
                ('duree_initiale', models.PositiveIntegerField(validators=[django.core.validators.MinValueValidator(1)], verbose_name='seconds paid for')),
                ('temps_utilise', models.PositiveIntegerField(default=0, verbose_name='seconds used before')),
                ('statut', models.CharField(choices=[('en_attente', 'waiting'), ('active', 'running'), ('terminee', 'ended')], default='en_attente', max_length=20, verbose_name='status')),
                ('debut_session', models.DateTimeField(blank=True, null=True, verbose_name='started')),
                ('fin_prevue', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='ends at')),
                ('fin_session', models.DateTimeField(blank=True, null=True, verbose_name='ended')),
                ('poste', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='sessions', to='workstations.workstation', verbose_name='workstation')),
                ('utilisateur', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='sessions', to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name': 'session',
                'ordering': ['-pk'],
            },
        ),
    ]
