"""Brings networks in: the starter, and their packaging as MLflow model versions."""
