"""The machinery of a controller process: queue, leader election, Events, watchdog, metrics, health, logs.

It knows Kubernetes, and conditions, but nothing of memories; what is reconciled lives elsewhere.
"""
