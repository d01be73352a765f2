"""Renders the template into a stack folder and keeps the pristine render."""

from stackctl.scaffold.create import Created, init
from stackctl.scaffold.credentials import Credentials
from stackctl.scaffold.questions import Prompts, read_data_file, read_pairs
from stackctl.scaffold.render import render

__all__ = ["Created", "Credentials", "Prompts", "init", "read_data_file", "read_pairs", "render"]
