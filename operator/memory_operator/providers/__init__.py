"""One package a backend: ``plan.py`` decides (pure), ``client.py`` observes and applies (the only user of a driver)."""
