"""One module for each thing outside the process; fills a Protocol of ``ports``.

Drivers are imported here and nowhere else. No use case lives here, and no adapter knows another one.
"""
