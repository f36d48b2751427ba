"""Apostille: an API gateway for calling services that are not yours."""

__version__ = "0.1.0"
