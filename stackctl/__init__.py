"""stackctl: scaffold and run a self-hosted MLOps stack on one machine."""

__version__ = "0.1.0"
