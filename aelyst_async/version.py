"""The version, in one place: pyproject.toml reads it from here, and a test holds CHANGELOG.md against it."""

__version__ = "0.1.0"
