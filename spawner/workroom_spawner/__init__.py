"""One user's server: from a choice to a URL, on the local Docker engine or on Amazon ECS.

    what both share     server, profiles, progress, startcode, usage, errors, names, requests
    on the engine       local
    on ECS, the spawner ecs, over task_memory (what outlives the hub) and task_end (poll, stop),
                        with launch (RunTask), arrival (until the container reports in),
                        checkpoints, second_chance, task_errors (the sentences), database
    on ECS, the cluster platform: one for all servers of a process, made of
        watcher         which tasks live: roster, watched, verdicts, confirmation, outage
        reconcile       which tasks are ours and nobody's: stopper
        endings         which were told to end and may not have
        definitions, homes    what must exist before a task: background
        ecs_api         the calls: aws_calls, aws_clients, aws_errors, buckets, metrics
    as data             ecs_settings, efs_root, task_requests, task_view

Nothing below `platform` knows JupyterHub, and only `ecs_api` and its modules know boto3; an import
rule keeps it so.
"""
