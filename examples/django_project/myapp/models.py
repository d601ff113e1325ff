"""Whom mails are sent to."""

from django.db import models


class User(models.Model):
    """Somebody with an address."""

    email = models.EmailField(unique=True)
