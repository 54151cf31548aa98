"""Who somebody is and what that lets them do. Standard library only: Mage's process asks too."""
