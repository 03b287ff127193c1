"""The version, in one place: pyproject.toml reads it from here, and a test compares CHANGELOG.md with it."""

__version__ = "0.1.0"
