"""`streamvitals top`: what the live page shows, in a terminal, of one agent or several."""
