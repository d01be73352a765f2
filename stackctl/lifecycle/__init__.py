"""What spans rooms: one module per verb."""
