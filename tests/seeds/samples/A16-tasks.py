# myapp/tasks.py
from celery import shared_task
from django.core.mail import send_mail

@shared_task
def send_notification(user_id, message):
    from .models import User
    user = User.objects.get(id=user_id)
    send_mail(
        'Notification',
        message,
        'noreply@example.com',
        [user.email],
    )
    return f"Sent to {user.email}"
