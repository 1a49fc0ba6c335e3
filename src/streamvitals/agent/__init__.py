"""The agent: the process beside an app that `streamvitals run` starts, and that serves its metrics."""
