"""A server that gives trainers tools over VerlTool's protocol (`agentgym serve tools=...`; arXiv 2509.01055).

    POST /get_observation    actions of trajectories: {"trajectory_ids": [...], "actions": [...]}, and of the same
                             length, where given, "extra_fields", "finish" and "is_last_step"
    GET  /health             no token needed
    GET  /metrics            for Prometheus

The answer is {"observations": [...], "dones": [...], "valids": [...], "processing_time_ms", "queue_time_ms"}; an
observation is a text, or a table with that text as `obs` and why as `invalid_reason` or `error`. A router spreads
trajectories over worker processes, each trajectory with tools of its own and always at the same worker.
"""
