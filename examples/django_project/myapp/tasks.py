"""What is done apart from requests."""

from django.core.mail import send_mail

from taskflow import shared_task


@shared_task
def send_notification(user_id, message):
    """Send a user a mail."""
    from .models import User

    user = User.objects.get(id=user_id)
    send_mail(
        "Notification",
        message,
        "noreply@example.com",
        [user.email],
    )
    return f"Sent to {user.email}"
