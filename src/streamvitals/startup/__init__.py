"""The code at the start of every Python under `streamvitals run`, which imports nothing new."""
