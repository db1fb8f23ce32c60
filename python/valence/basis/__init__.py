"""The basis room."""
