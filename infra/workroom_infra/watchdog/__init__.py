"""Takes a machine with a hung NFS mount out of an ECS cluster. docs/mount-watchdog.md explains it.

Runs on the cluster's machines with their own Python: syntax of Python 3.9, the standard library,
and boto3 in `aws` only. Imports nothing else of Workroom.
"""
