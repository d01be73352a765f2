"""Snapshots of a stack that can be believed: taking, verifying, keeping, and knowing how old the newest is."""
