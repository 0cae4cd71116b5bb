# SPDX-License-Identifier: BSD-3-Clause
"""`manage.py demo`: something to look at."""

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from chat.models import Conversation, Message
from workstations.models import AccessSession, Workstation

# code, user, workstation number, seconds paid for, seconds used on an earlier day
SESSIONS = [
    ("ABC123", "bob", 1, 7200, 1800),
    ("BOB002", "bob", 2, 3600, 0),
    ("QUICK1", "alice", 3, 90, 0),
    ("ALICE4", "alice", 4, 1800, 0),
]


class Command(BaseCommand):
    """Creates demo data; running it again changes nothing, unless --reset is given."""

    help = "Create two accounts, a conversation, workstations and sessions to try the pages with."

    def add_arguments(self, parser):
        """Declare the options."""
        parser.add_argument(
            "--address", default="http://127.0.0.1:8000/", help="where the project is served, to be shown"
        )
        parser.add_argument("--reset", action="store_true", help="make the demo sessions new again")
        parser.add_argument("--force", action="store_true", help="also when DEBUG is off (the passwords are public!)")

    def handle(self, *args, **options):
        """Create what is missing and say what there is."""
        if not settings.DEBUG and not options["force"]:
            raise CommandError("The demo accounts have public passwords; use --force if you mean it.")
        with transaction.atomic():
            users = {name: self.user(name) for name in ("alice", "bob")}
            self.conversation(users)
            self.sessions(users, options["reset"])
        self.stdout.write(f"Address:  {options['address']}")
        self.stdout.write("Accounts: alice / alice (staff, may use /admin/) and bob / bob")
        self.stdout.write("Codes:    " + ", ".join(code for code, *_ in SESSIONS) + " (QUICK1 lasts 90 seconds)")

    def user(self, name):
        """Create one account whose password is its name; alice is an administrator."""
        staff = name == "alice"
        user, created = get_user_model().objects.get_or_create(
            username=name,
            defaults={"email": f"{name}@example.com", "is_staff": staff, "is_superuser": staff},
        )
        if created:
            user.set_password(name)
            user.save()
        return user

    def conversation(self, users):
        """Create the conversation of the two."""
        conversation, created = Conversation.objects.get_or_create(title="Alice and Bob")
        conversation.participants.add(*users.values())
        if created:
            Message.objects.create(conversation=conversation, sender=users["bob"], content="Hello Alice!")

    def sessions(self, users, reset):
        """Create six workstations, and sessions that wait for their codes."""
        workstations = [
            Workstation.objects.get_or_create(
                nom=f"Poste {number}",
                defaults={
                    "adresse_ip": f"192.168.1.{100 + number}",
                    "statut": Workstation.HORS_LIGNE if number == 6 else Workstation.DISPONIBLE,
                },
            )[0]
            for number in range(1, 7)
        ]
        if reset:
            AccessSession.objects.filter(code_acces__in=[code for code, *_ in SESSIONS]).delete()
            Workstation.objects.filter(nom="Poste 6").update(statut=Workstation.HORS_LIGNE)
            Workstation.objects.filter(pk__in=[w.pk for w in workstations[:5]]).update(statut=Workstation.DISPONIBLE)
        for code, name, number, paid, used in SESSIONS:
            AccessSession.objects.get_or_create(
                code_acces=code,
                defaults={
                    "utilisateur": users[name],
                    "poste": workstations[number - 1],
                    "duree_initiale": paid,
                    "temps_utilise": used,
                },
            )
