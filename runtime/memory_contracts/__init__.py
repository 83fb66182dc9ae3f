"""The ground floor both planes stand on: API types, names, settings, events, conditions, errors, database schema.

Here lives what the operator and the runtime must agree on. No driver, no I/O, no business rule: only the standard
library and pydantic are imported.
"""
