"""The model server: a light parent that routes, and one child process per loaded version."""
