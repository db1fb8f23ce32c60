"""The atoms room."""
