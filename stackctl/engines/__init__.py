"""How the services of a stack run: Docker Compose, or plain processes under supervisord."""

from stackctl.engines.protocol import Engine, Progress, ServiceState
from stackctl.engines.select import engine_of, other_engines

__all__ = ["Engine", "Progress", "ServiceState", "engine_of", "other_engines"]
