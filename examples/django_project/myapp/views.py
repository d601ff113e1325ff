"""Three pages: sign up, notify a user, and see whether the mail has gone out."""

from django.db import transaction
from django.http import JsonResponse
from django.views.decorators.http import require_GET, require_POST

from myapp.models import User
from myapp.tasks import send_notification
from taskflow import AsyncResult
from taskflow.errors import NoSuchRun


@require_POST
def sign_up(request):
    """Make a user, and welcome it once it is there."""
    with transaction.atomic():
        user = User.objects.create(email=request.POST["email"])
        send_notification.delay_on_commit(user.id, "Welcome!")
        if request.POST.get("refused"):
            transaction.set_rollback(True)
            return JsonResponse({"error": "refused"}, status=409)
    return JsonResponse({"id": user.id}, status=201)


@require_POST
def notify(request):
    """Send a message to a user, and say by which id its task is known."""
    result = send_notification.delay(int(request.POST["user"]), request.POST["message"])
    return JsonResponse({"task_id": result.id}, status=202)


@require_GET
def look(request, task_id):
    """Say how the task stands, and what it gave."""
    try:
        result = AsyncResult(task_id)
        return JsonResponse({"state": result.state, "result": str(result.result or "")})
    except NoSuchRun:
        return JsonResponse({"error": f"no task {task_id}"}, status=404)
