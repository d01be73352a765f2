"""``python -m stackctl`` is the command ``stackctl``."""

from stackctl.cli import main

main()
