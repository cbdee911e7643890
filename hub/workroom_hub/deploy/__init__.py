"""`workroom deploy`: the platform in an AWS account, from `workroom.yaml` and back into it."""
