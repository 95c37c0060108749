"""The version, which modules below the package's own names need too."""

__version__ = "0.1.0"
