"""Training of small super-resolution networks: photos, degradation, metrics, fitting, export to ONNX.

Only the `train` environment imports the modules that need torch (`network`, `fit`, `export`); nothing that serves does.
"""
