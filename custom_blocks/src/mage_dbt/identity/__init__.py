"""Who calls, and which role that gives. It imports only what Mage has too."""
