"""The files that come with streamvitals and are not code, and how they are handed out."""
