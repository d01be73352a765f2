"""Renders the template into a stack folder and keeps the pristine render."""
