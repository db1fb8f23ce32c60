"""The edges room."""
