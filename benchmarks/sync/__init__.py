"""The sync's speed and memory, against the bars of its issue. ``python -m benchmarks.sync [NAME…]``."""
