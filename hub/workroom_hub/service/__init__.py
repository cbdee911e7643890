"""Hub, proxy and SSH gateway as services of a cluster, each in a container of its own.

On one machine `workroom up` prepares a state folder and starts the three. Here a container's
environment says everything (`environment`), the state folder is made anew at each start, and what
must outlast it is in PostgreSQL and Secrets Manager. `workroom-service hub` is the entry point of
`images/hub`.
"""
