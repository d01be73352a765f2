"""What a stack is: its folder, settings, paths, ports, URLs and credentials. Knows no Docker and no MLflow."""

from stackctl.stack.services import Service
from stackctl.stack.settings import Settings
from stackctl.stack.stack import Endpoints, Stack

__all__ = ["Endpoints", "Service", "Settings", "Stack"]
