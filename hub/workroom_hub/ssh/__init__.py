"""The SSH gateway: `ssh NAME@host` into one's own server. Run as `python -m workroom_hub.ssh`.

A process of its own, so that sessions outlive the hub. One connection's story, module by module:

    door.py        takes connections up, within the limits (limits.py)
    visit.py       one connection: who is it (the hub knows), and what may be asked for
    way.py         from the person's server to a connection with its sshd: found, started, reached
    session.py     shells, commands, scp and sftp, relayed
    forwarding.py  forwarded ports and sockets, relayed; `ssh -J`, ended in the gateway itself
    wire.py        what one peer can make the gateway do and hold
    hub_client.py  the hub's API
    authority.py   the keys: the gateway's own, and the one that signs its certificates
    sparing.py     a log that nobody can fill
    gateway.py     all of it together, draining, the status file
"""
