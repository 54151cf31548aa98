"""What needs Mage: its environment's Python, or a whole Mage of its own."""
