"""Folders of images, upscaled in parallel: plan, manifest, workers, coordinator, report."""
