"""Scripts that anyone can rerun; results with date and machine are in RESULTS.md. No benchmark is a test."""
