"""The vendors' adapters, one folder each. This module imports none of them, so each can be imported alone.

``gateway.py`` is the adapter, ``wire.py`` converts between JSON and models, ``README.md`` describes special cases.
"""
