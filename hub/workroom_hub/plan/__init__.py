"""A simulator of a day on the cluster: how long people wait, and what it costs (docs/capacity.md).

    visits.py      who wants to work when: a described day
    trace.py       the same from a file
    servers.py     visits → servers, with the rules for idle ones and the calls' queue
    packing.py     servers → machines they need, whatever the policy
    simulate.py    those machines under one policy: when each is there, what it costs
    study.py       all policies of one day, the recommendation, the quotas

Everything here is pure: the same settings give the same numbers.
"""
