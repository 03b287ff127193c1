"""The vendors' adapters: one folder each, and nothing here, so that importing one imports only that one.

``gateway.py`` is the adapter, ``wire.py`` the translation between JSON and models, ``README.md`` the quirks.
"""
