"""What stands before Mage: every request passes here before any of Mage's own code sees it.

Mage's own login is no boundary, so none of it is used. `rules` says what is closed and which role
the rest needs, `application` asks it at each request, `people` makes the person who is signed in a
user of Mage's, `output` sends what a notebook prints to who ran it. Runs in Mage's process only.
"""
