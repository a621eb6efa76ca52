"""Many queries from one spec: read it, answer it, resume it, report it."""
