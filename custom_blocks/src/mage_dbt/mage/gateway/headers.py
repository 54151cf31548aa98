"""The headers by which the runner tells Mage's gateway who calls.

The relay takes away whatever comes from outside under these names before it sets them.
"""

SECRET = "X-Workspace-Mage"
"""The runner's secret. Without a person's name beside it the runner itself is the caller."""

PERSON = "X-Workspace-Person"
ROLE = "X-Workspace-Role"
