"""The models that come with the project: their data, drawn here, their networks and their training."""
