"""Other packages' calls, answered by Valence."""
