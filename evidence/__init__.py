"""Long claims, run by `make evidence NAME=...` into small committed JSON files that README and docs print."""
