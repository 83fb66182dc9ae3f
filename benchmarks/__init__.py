"""Measurements one runs by hand: each prints a table, writes JSON into ``results/`` and cleans up after itself.

No test asserts a time. Every figure stands beside its floor, taken in the same run on the same machine: only that
ratio travels. ``python -m benchmarks.http`` measures the API of one namespace over HTTP.
"""
