"""The gateway of Mage: every request passes it before Mage's own code sees the request.

Mage's own login is no boundary, so the gateway uses none of it. At each request `application` asks
`rules` whether the address is open and which role it needs, and `parameters` which parameters of
the address reach Mage. `people` makes the signed-in person a user of Mage's. `answers` changes what
Mage answers. `notebook_output` sends what a notebook prints to the person who ran it. All of it
runs in Mage's process; `headers` and `rules` serve the runner's relay too.
"""
