"""Workroom in an AWS account, as an AWS CDK app: one construct a concern, rights in one place.

stack.py        composes everything, and is the only one that grants rights
rights.py       those rights, as lists of statements
walls.py        security groups: who reaches whom
network.py      VPC, subnets, endpoints
machines.py     the cluster that servers run on: groups of machines, capacity providers
machine_image.py  the pipeline that makes the machines' image
watchdog_bundle.py  what of the watchdog goes into that image
homes.py        EFS
database.py     PostgreSQL
entrances.py    load balancers
services.py     the cluster that hub, proxy, gateway, registry and metastore run on
warehouse.py    the bucket of the tables
measures.py     what is measured: the metrics behind alarms and dashboard
observability.py, alarms.py  which of it is an alarm, and an alarm
dashboard.py    the page with all of it
watchdog/       on every machine: takes out one whose mount hangs; imports nothing of the others
"""
