"""What `streamvitals run` does before it becomes the app: it checks, starts the agent, and execs."""
