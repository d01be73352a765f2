"""The MLflow model registry as this product uses it, over MLflow's REST API."""
