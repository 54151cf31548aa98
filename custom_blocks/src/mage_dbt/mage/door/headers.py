"""What the runner's relay tells Mage of a request, after it has taken away what came with it."""

SECRET = "X-Workspace-Mage"
"""The runner's secret; without a person's name beside it the runner itself is calling."""

PERSON = "X-Workspace-Person"
ROLE = "X-Workspace-Role"
