"""`streamvitals run`: checks, starts the agent, and becomes the app by exec."""
