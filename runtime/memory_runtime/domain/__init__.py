"""Pure rules: records, searchable text, importance, scoring, consistency tokens. No I/O; NumPy only."""
