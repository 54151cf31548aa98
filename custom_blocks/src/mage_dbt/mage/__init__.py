"""What the workspace knows about Mage: its project, its triggers, its API, its blocks' attempts."""
