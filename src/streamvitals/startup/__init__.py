"""What runs at the start of every Python under `streamvitals run`: it loads nothing that is not loaded anyway."""
