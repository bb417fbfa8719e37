"""landweave."""
