"""The ops in plain NumPy, one file a room: the readable definition, and the oracle of the law tests."""
