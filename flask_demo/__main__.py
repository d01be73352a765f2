"""`python -m flask_demo`: the demo under waitress, configured by the environment."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

from flask_demo.app import FORM_OVERHEAD, create_app
from flask_demo.config import MIB, ConfigError, DemoConfig

THREADS = 8
LARGEST_ANSWER = 512 * MIB


def server_options(config: DemoConfig) -> dict[str, object]:
    """Return waitress' options: bodies and answers stay in memory, larger bodies are refused before they are read."""
    largest_body = config.max_upload_bytes + 2 * FORM_OVERHEAD
    return {
        "host": config.host,
        "port": config.port,
        "threads": THREADS,
        "max_request_body_size": largest_body,
        "inbuf_overflow": largest_body + FORM_OVERHEAD,
        "outbuf_overflow": LARGEST_ANSWER,
        "channel_timeout": int(config.timeout) + 60,
        "ident": None,
    }


def make_server(config: DemoConfig) -> Any:
    """Return waitress bound to the demo of `config`, listening; `run()` serves, `close()` ends it."""
    import waitress.server

    return waitress.server.create_server(create_app(config), **server_options(config))


def main() -> int:
    """Serve until stopped; returns 2 when a setting is wrong."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        config = DemoConfig.from_env(os.environ)
    except ConfigError as error:
        sys.stderr.write(f"flask_demo: {error}\n")
        return 2
    # The first process of a container gets no default for SIGTERM; without this, stopping it takes a kill.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = make_server(config)
    bound = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    addresses = ", ".join(f"http://{host}:{port}" for host, port in bound)
    sys.stderr.write(f"flask_demo: {addresses} shows what {config.model_server} serves\n")
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
