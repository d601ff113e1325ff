"""What is where."""

from django.urls import path

from myapp import views

urlpatterns = [
    path("users/", views.sign_up),
    path("notifications/", views.notify),
    path("notifications/<str:task_id>/", views.look),
]
