"""An AWS account in which the stack is deployed: an emulator, and what stands in for what it lacks.

CloudFormation, S3, Secrets Manager, EFS and ECS are ministack's; ECS starts real containers. What
it lacks, and what takes its place:

| missing | in its place |
|---|---|
| types that its CloudFormation refuses (`reads`) | the API of the same service (`remainder`) |
| properties that its CloudFormation drops (`reads`) | the API, where it takes them (`lost`) |
| task definitions: it drops secrets, volumes, health checks | the API |
| secrets: it generates characters that the template excludes | written again through the API |
| `Ref` of a secret is its name; on AWS its ARN | the template asks for the attribute `Id` |
| EC2 Image Builder, warm pools: there is no API either | nothing; they are named |
| RDS: an address with nothing behind it | PostgreSQL in a container at that address (`database`) |
| Cloud Map: no DNS | the engine's DNS, the same names (`places`) |
| load balancers: no traffic | nginx, with the same ports and TLS at the same place (`places`) |
| keys of a task's role: at an address that SDKs refuse | keys in the environment (`remainder`) |
| the pull secret of a task that RunTask starts | the same secret in the engine's own log-in file |
| EFS volumes are not mounted | nothing; a home ends with its container |
| a container's read-only file system, user, capabilities, limits | nothing |
"""
