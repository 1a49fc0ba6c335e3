"""What the live page and `streamvitals top` show: open streams, and the last minutes and hour of what was counted."""
