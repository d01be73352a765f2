"""Programs that a benchmark runs in interpreters of their own."""
