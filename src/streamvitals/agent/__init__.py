"""The side process of `streamvitals run`."""
