"""What makes, starts, watches and stops the workspace's processes on one machine."""
